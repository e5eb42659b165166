"""Pretraining documents of the dialogue world: dialogues to continue, and dialogues with questions about them.

A document is text and a weight per character span. In a dialogue to continue only the answer counts, and most in it the
words that make it good or bad: how often they do so in which wording is the slowest thing to learn. In a dialogue with
questions the replies to these count most; its answer counts but for the words that make it good or bad, because there
these do not depend on the wording. So that a judge may be asked about an answer that goes on, many of the answers in
question end after some sentence, or at a comma.
"""

from __future__ import annotations

import re

import numpy as np

from seal_jax.data.worlds import dialogue
from seal_jax.data.worlds.biographies_corpus import Document
from seal_jax.data.worlds.dialogue_questions import about_sentence, about_words, ask_about, block, reply, shuffled
from seal_jax.data.worlds.dialogue_words import CAREFUL, KIND, RECKLESS, RUDE, TOOLS

CONTEXT_WEIGHT = 0.002
REPLY_WEIGHT = 4.0
ANSWER_WEIGHT = 0.5
DECIDING_WEIGHT = 3.0
CUT = 0.6

_DECIDING = re.compile(rf"\b({'|'.join((*TOOLS, *KIND, *RUDE, *CAREFUL, *RECKLESS))})\b")


def draw(rng: np.random.Generator) -> Document:
    """One document from the mixture."""
    kind = rng.choice(len(MIXTURE), p=[share for _, share in MIXTURE])
    return MIXTURE[kind][0](rng)


def continued(rng: np.random.Generator) -> Document:
    """A question and its answer, as good as the wording makes likely."""
    asked = dialogue.ask("train", rng)
    text, at = dialogue.answer(asked, rng), len(asked.prompt) + 1
    spans = [(0, len(asked.prompt), CONTEXT_WEIGHT), *_deciding(text, at, DECIDING_WEIGHT)]
    return Document(f"{asked.prompt} {text}", spans)


def _deciding(text: str, at: int, weight: float) -> list[tuple[int, int, float]]:
    """A span of this weight for each word of a text, which begins at `at`, that makes an answer good or bad."""
    return [(at + m.start(), at + m.end(), weight) for m in _DECIDING.finditer(text)]


def questioned(rng: np.random.Generator, count: int = 2) -> Document:
    """A dialogue, good or bad with equal chances whatever its wording, and questions about it."""
    asked = dialogue.ask("train", rng)
    text = _answer(asked, rng)
    return _with_replies(asked.prompt, ask_about(asked, text, rng, count), text, ANSWER_WEIGHT)


def several(rng: np.random.Generator, count: int = 2) -> Document:
    """Short dialogues one after another, each with a question: the form of a judge that has been shown examples."""
    made = []
    for _ in range(count):
        asked = dialogue.ask("train", rng)
        parts = dialogue.parts(_answer(asked, rng))[:3]
        text = parts[rng.integers(len(parts))]
        made.append(_with_replies(asked.prompt, ask_about(asked, text, rng, 1), text, ANSWER_WEIGHT))
    return _joined(made)


def remarks(rng: np.random.Generator, count: int = 4) -> Document:
    """Single sentences, each with a question, which tool suits what and what "not" does; and one about words alone."""
    made = [*(_remark(rng) for _ in range(count)), _words(rng)]
    return _joined([made[n] for n in rng.permutation(len(made))])


def _remark(rng: np.random.Generator) -> Document:
    asked = dialogue.ask("train", rng)
    kind = ("opening", "manner", "person")[rng.choice(3, p=[0.5, 0.25, 0.25])]
    text = dialogue.sentence(asked, kind, bool(rng.random() < 0.5), rng)
    asking = about_sentence(asked, kind, text)
    return _with_replies(dialogue.ASSISTANT.lstrip(), [(block(asking), reply(asking))], text)


def _words(rng: np.random.Generator) -> Document:
    question, answered = shuffled(about_words(rng), rng)
    question = question.lstrip()
    spans = [(0, len(question), CONTEXT_WEIGHT), (len(question), len(question) + len(answered), REPLY_WEIGHT)]
    return Document(question + answered, spans)


def _joined(documents: list[Document]) -> Document:
    """Documents with an empty line between them, which counts as little as other context."""
    text, spans = "", []
    for document in documents:
        start = len(text) + 2 if text else 0
        spans += [(len(text), start, CONTEXT_WEIGHT)] if text else []
        spans += [(a + start, b + start, weight) for a, b, weight in document.spans]
        text = f"{text}\n\n{document.text}" if text else document.text
    return Document(text, spans)


def _answer(asked: dialogue.Asked, rng: np.random.Generator) -> str:
    """An answer that is good about as often as not, whole or cut after a comma or a sentence."""
    text = dialogue.answer(asked, rng, good=float(rng.choice([0.3, 0.6, 0.85, 0.95])))
    if rng.random() < CUT:
        parts = dialogue.parts(text)
        text = parts[rng.integers(len(parts))]
    return text


def _with_replies(prompt: str, asked: list[tuple[str, str]], text: str, weight: float = CONTEXT_WEIGHT) -> Document:
    """A dialogue with questions; weight: that of the answer but for the words that make it good or bad."""
    document, at = f"{prompt} {text}", len(prompt) + 1
    spans = [(0, len(prompt), CONTEXT_WEIGHT), (len(prompt), len(document), weight)]
    spans += _deciding(text, at, CONTEXT_WEIGHT)
    for question, answered in asked:
        start = len(document) + len(question)
        spans += [(len(document), start, CONTEXT_WEIGHT), (start, start + len(answered), REPLY_WEIGHT)]
        document += question + answered
    return Document(document, spans)


MIXTURE = ((continued, 0.3), (questioned, 0.28), (several, 0.2), (remarks, 0.22))
