"""Pretraining documents of the dialogue world: dialogues to continue, and dialogues with questions about them.

A document is text and a weight per character span. In a dialogue to continue only the answer counts; in one with
questions only the replies to these do. So that a judge may be asked about an answer that goes on, many of the answers
in question end after some sentence, or at a comma.
"""

from __future__ import annotations

import numpy as np

from seal_jax.data.worlds import dialogue
from seal_jax.data.worlds.biographies_corpus import Document
from seal_jax.data.worlds.dialogue_questions import ask_about

CONTEXT_WEIGHT = 0.002
REPLY_WEIGHT = 3.0
CONTINUED = 0.25
CUT = 0.6
SHOTS = 0.3


def draw(rng: np.random.Generator) -> Document:
    """A document: a dialogue to continue, one with questions, or several short ones with a question each."""
    kind = rng.random()
    if kind < CONTINUED:
        return continued(rng)
    return several(rng) if kind < CONTINUED + SHOTS else questioned(rng)


def continued(rng: np.random.Generator) -> Document:
    """A question and its answer, as good as the wording makes likely."""
    asked = dialogue.ask("train", rng)
    return Document(f"{asked.prompt} {dialogue.answer(asked, rng)}", [(0, len(asked.prompt), CONTEXT_WEIGHT)])


def questioned(rng: np.random.Generator, count: int = 2) -> Document:
    """A dialogue, good or bad with equal chances whatever its wording, and questions about it."""
    asked = dialogue.ask("train", rng)
    return _with_replies(asked.prompt, ask_about(asked, text := _answer(asked, rng), rng, count), text)


def several(rng: np.random.Generator, count: int = 2) -> Document:
    """Short dialogues one after another, each with a question: the form of a judge that has been shown examples."""
    made = Document("", [])
    for _ in range(count):
        asked = dialogue.ask("train", rng)
        parts = dialogue.parts(_answer(asked, rng))[:3]
        text = parts[rng.integers(len(parts))]
        one = _with_replies(asked.prompt, ask_about(asked, text, rng, 1), text)
        start = len(made.text) + (2 if made.text else 0)
        spans = [(a + start, b + start, weight) for a, b, weight in one.spans]
        gap = [(len(made.text), start, CONTEXT_WEIGHT)] if made.text else []
        made = Document(f"{made.text}\n\n{one.text}".lstrip("\n"), [*made.spans, *gap, *spans])
    return made


def _answer(asked: dialogue.Asked, rng: np.random.Generator) -> str:
    """An answer that is good about as often as not, whole or cut after a comma or a sentence."""
    text = dialogue.answer(asked, rng, good=float(rng.choice([0.3, 0.6, 0.85, 0.95])))
    if rng.random() < CUT:
        parts = dialogue.parts(text)
        text = parts[rng.integers(len(parts))]
    return text


def _with_replies(prompt: str, asked: list[tuple[str, str]], text: str) -> Document:
    document, spans = f"{prompt} {text}", []
    start = 0
    for block, reply in asked:
        document += block
        spans += [(start, len(document), CONTEXT_WEIGHT), (len(document), len(document) + len(reply), REPLY_WEIGHT)]
        document += reply
        start = len(document)
    return Document(document, spans)
