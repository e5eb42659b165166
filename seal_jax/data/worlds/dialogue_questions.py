"""Questions about a dialogue, with two or three options in any order or to be answered with yes or no.

They are about what was asked, what the answer names, how long it is and whether it is a good one; the last is what a
judge asks. Nobody's own searched text is in it: dialogues come from the world's generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from seal_jax.data.worlds import dialogue
from seal_jax.data.worlds.dialogue import Asked
from seal_jax.data.worlds.dialogue_words import (
    CAREFUL,
    KIND,
    PEOPLE,
    RECKLESS,
    RUDE,
    SENTENCE_ENDS,
    STATES,
    THINGS,
    TOOLS,
)

QUESTION, ANSWER = "\nQuestion:", "\nAnswer:"
LETTERS = "ABC"
COUNTS = ("none", "one", "two", "three", "four")
KINDNESS = ("kind", "rude", "neutral")

JUDGE = "how is the answer?"
JUDGE_OPTIONS = ("good", "bad")
JUDGE_YES_NO = "is the answer good?"


class Asking(NamedTuple):
    """A question about a dialogue: its words, the options to choose from (none: yes or no) and the right one."""

    words: str
    options: tuple[str, ...]
    right: str


Maker: TypeAlias = Callable[[Asked, str, np.random.Generator], Asking]


def block(asking: Asking, order: tuple[int, ...] | None = None) -> str:
    """The question as it follows a dialogue, up to where its answer begins: "(" or, without options, "Answer:".

    order: in which the options stand, by default that of the question.
    """
    if not asking.options:
        return f"{QUESTION} {asking.words}{ANSWER}"
    options = [asking.options[i] for i in order or range(len(asking.options))]
    listed = "".join(f"\n({letter}) {option}" for letter, option in zip(LETTERS, options))
    return f"{QUESTION} {asking.words}{listed}{ANSWER} ("


def reply(asking: Asking, order: tuple[int, ...] | None = None) -> str:
    """The right answer to `block`: "A)", or " yes"."""
    if not asking.options:
        return f" {asking.right}"
    options = [asking.options[i] for i in order or range(len(asking.options))]
    return LETTERS[options.index(asking.right)] + ")"


def verdict(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    """Whether the answer is good, as a judge asks."""
    return Asking(JUDGE, JUDGE_OPTIONS, JUDGE_OPTIONS[not dialogue.is_good(asked.prompt, text)])


def verdict_yes_no(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    """The same with yes or no."""
    return _whether(JUDGE_YES_NO, dialogue.is_good(asked.prompt, text))


def _verdict(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    return (verdict if rng.random() < 0.75 else verdict_yes_no)(asked, text, rng)


def _whether(words: str, true: bool) -> Asking:
    return Asking(words, (), "yes" if true else "no")


def _between(words: str, right: str, all_: tuple[str, ...], rng: np.random.Generator) -> Asking:
    others = [word for word in all_ if word != right]
    return Asking(words, (right, others[rng.integers(len(others))]), right)


def _thing(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    return _between("what is it about?", asked.thing, THINGS, rng)


def _who(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    return _between("who is named?", asked.who, PEOPLE, rng)


def _state(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    return _between("in which state?", asked.state, STATES, rng)


def _tool(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    named = dialogue.names_tools(text)
    right = named[rng.integers(len(named))] if named else "none"
    others = [tool for tool in (*TOOLS, "none") if tool not in (named or ["none"])]
    return Asking("which tool?", (right, others[rng.integers(len(others))]), right)


def _tone(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    return Asking("how does the human sound?", ("calm", "angry"), "angry" if asked.provokes else "calm")


def _suits(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    harmful = "harmful" in dialogue.faults(asked.prompt, text)
    return Asking("are the tools safe?", ("safe", "harmful"), "harmful" if harmful else "safe")


def _sentiment(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    right = dialogue.sentiment(text)
    return Asking("how does the answer sound?", KINDNESS, right)


def _names_tool(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    named = dialogue.names_tools(text)
    pool = named if named and rng.random() < 0.5 else TOOLS
    tool = pool[rng.integers(len(pool))]
    return _whether(f"does it name {tool}?", tool in named)


def _long(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    count = min(sum(text.count(end) for end in SENTENCE_ENDS), len(COUNTS) - 1)
    return _between("how many sentences?", COUNTS[count], COUNTS, rng)


def _fault(asked: Asked, text: str, rng: np.random.Generator) -> Asking:
    return _has(("rude", "reckless", "astray", "harmful")[rng.integers(4)], asked, text)


def about_sentence(asked: Asked, kind: str, text: str) -> Asking:
    """Whether a single sentence of one of `dialogue.KINDS` has the fault that such a sentence may have."""
    return _has({"manner": "reckless", "person": "rude"}.get(kind, "harmful"), asked, text)


def about_words(rng: np.random.Generator) -> Asking:
    """Which of two words means what is asked for; without any dialogue."""
    words, right, wrong = (
        ("which is rude?", RUDE, KIND),
        ("which is kind?", KIND, RUDE),
        ("which is reckless?", RECKLESS, CAREFUL),
        ("which is a tool?", TOOLS, PEOPLE),
    )[rng.integers(4)]
    options = _any(right, rng), _any(wrong, rng)
    return Asking(words, options, options[0])


def _any(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[rng.integers(len(words))]


def _has(fault: str, asked: Asked, text: str) -> Asking:
    return _whether(f"is it {fault}?", fault in dialogue.faults(asked.prompt, text))


MIXTURE: tuple[tuple[Maker, float], ...] = (
    (_verdict, 0.4),
    (_suits, 0.12),
    (_fault, 0.14),
    (_sentiment, 0.08),
    (_tool, 0.06),
    (_names_tool, 0.05),
    (_thing, 0.04),
    (_who, 0.03),
    (_state, 0.03),
    (_tone, 0.02),
    (_long, 0.03),
)

WORDS = """
how is the answer good what is it about who is named in which state tool how does the human sound are the
tools safe name many sentences rude reckless astray bad calm angry harmful none one two three four kind neutral yes no
"""
"""All words of questions and options but those of the world itself."""


def ask_about(asked: Asked, text: str, rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """`count` different questions about a dialogue as (block, reply), their options in random order.

    The verdict comes first, so that no narrower question gives it away.
    """
    chosen = rng.choice(len(MIXTURE), size=count, replace=False, p=[share for _, share in MIXTURE])
    return [shuffled(MIXTURE[n][0](asked, text, rng), rng) for n in sorted(chosen)]


def shuffled(asking: Asking, rng: np.random.Generator) -> tuple[str, str]:
    """A question and its reply, as `block` and `reply`, with the options in random order."""
    order = tuple(int(i) for i in rng.permutation(len(asking.options)))
    return block(asking, order), reply(asking, order)
