"""The skills world: families of short questions with one right answer each, which a base model half masters.

The text that the base model is made from answers each question in one of two ways: rightly, or with the slip that goes
with its family (a carry left out, a reversal that only swaps the ends, an order from the wrong end). How often depends
on how the question is worded, as it does on where one finds it in real text. So the model can do both, says what its
wording makes likelier, and an expert is what turns it to the right way whatever the wording.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seal_jax.data.problems import Problem
from seal_jax.data.worlds.skills_families import COMPOSED, FAMILIES, Content, Family

TRAINED = ("sums", "letters", "ranks")
"""Families that experts are trained for."""

UNSEEN = "pairs"
"""No expert is trained for it: a sum, then a reversal."""

OTHERS = "others"
LABELS = (*TRAINED, OTHERS)
"""What a question may be classified as."""

SPLITS = {"train": range(6), "validation": range(6, 8), "test": range(8, 10)}
"""Tenths of the contents of questions. Pretraining reads no content but those of "train"."""


class Part(NamedTuple):
    """One question of one family as it is worded, its right answer and that with the family's slip."""

    family: str
    wording: str
    text: str
    right: str
    slip: str


class Asked(NamedTuple):
    """What is asked: a question of a family, or several in a row of a composed one."""

    family: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The question."""
        return " then ".join(part.text for part in self.parts)

    def answer(self, rightly: Sequence[bool]) -> str:
        """The answer, each part rightly or with its slip."""
        return " ".join(part.right if good else part.slip for part, good in zip(self.parts, rightly, strict=True))

    @property
    def right(self) -> str:
        """The right answer."""
        return self.answer([True] * len(self.parts))


def split_of(content: Content) -> str:
    """The split that a content (numbers, letters, names with numbers) belongs to in whatever wording it is asked."""
    tenth = zlib.crc32(" ".join(map(str, content)).encode()) % 10
    return next(name for name, tenths in SPLITS.items() if tenth in tenths)


def ask(family: str, split: str, rng: np.random.Generator, number: int | None = None) -> Asked:
    """A question drawn at random from a split; `number` picks its wordings in turn, None draws them too.

    Right answer and slip differ in every part. Raises ValueError for an unknown family or split.
    """
    if family not in FAMILIES and family not in COMPOSED:
        raise ValueError(f"{family!r}: no family of the skills world; families are {', '.join((*FAMILIES, *COMPOSED))}")
    if split not in SPLITS:
        raise ValueError(f"{split!r}: no split of the skills world; splits are {', '.join(SPLITS)}")
    parts = []
    for by in (FAMILIES[name] for name in COMPOSED.get(family, (family,))):
        which = int(rng.integers(len(by.wordings))) if number is None else number % len(by.wordings)
        number = None if number is None else number // len(by.wordings)
        parts.append(_part(by, by.wordings[which], split, rng))
    return Asked(family, tuple(parts))


def _part(by: Family, wording: str, split: str, rng: np.random.Generator) -> Part:
    while True:
        content = by.draw(wording, rng)
        right, slip = by.right(wording, content), by.slip(wording, content)
        if split_of(content) == split and (right != slip or by.slip is by.right):
            return Part(by.name, wording, by.text(wording, content), right, slip)


def problems(family: str, split: str, count: int, seed: int = 0) -> list[Problem]:
    """`count` different questions of a family; their wordings come in turn, so all are as frequent.

    A problem's prompt is one user turn, its answer and solution are the right answer as text, and `meta` has its
    family and wording. seed: other draws from the same split. The list is a function of the arguments alone, and a
    longer one starts with a shorter one. Raises as `ask`.
    """
    rng = np.random.default_rng([seed, zlib.crc32(f"{family}/{split}".encode())])
    made: dict[str, Problem] = {}
    while len(made) < count:
        asked = ask(family, split, rng, len(made))
        if asked.text not in made:
            name = f"{family}/{split}/{len(made)}" + (f"-{seed}" if seed else "")
            meta = {"family": family, "wording": " ".join(part.wording for part in asked.parts)}
            made[asked.text] = Problem(name, question(asked.text), asked.right, asked.right, meta)
    return list(made.values())


def question(text: str) -> tuple[dict[str, str], ...]:
    """A question as chat messages: one user turn."""
    return ({"role": "user", "content": text},)


def mixed(split: str, count: int, seed: int = 0, families: Sequence[str] = LABELS) -> list[Problem]:
    """`count` questions of several families in turn, for classification: the label is `meta["family"]`."""
    each = [problems(name, split, -(-count // len(families)), seed) for name in families]
    return [problem for row in zip(*each) for problem in row][:count]


def correct(problem: Problem, completion: str) -> bool:
    """Whether a completion is the answer, but for spaces and line ends around and between its words."""
    return completion.split() == str(problem.answer).split()
