"""The families of the skills world: how a question reads, its right answer, and the slip that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

Content: TypeAlias = tuple[int | str, ...]

LETTERS = "abcdefghklmnoprt"
NAMES = ("Ann", "Bob", "Cid", "Dot", "Eve", "Fay", "Gus", "Hal", "Ida", "Jon", "Kim", "Leo")


class Family(NamedTuple):
    """wordings: equally frequent. draw: `(wording, rng) -> content`; text, right, slip: `(wording, content) -> str`.

    A family whose slip is its right answer knows none.
    """

    name: str
    wordings: tuple[str, ...]
    draw: Callable[[str, np.random.Generator], Content]
    text: Callable[[str, Content], str]
    right: Callable[[str, Content], str]
    slip: Callable[[str, Content], str]


def _numbers(wording: str, rng: np.random.Generator) -> Content:
    return tuple(int(n) for n in rng.integers(10, 50, 2))


def _sum(wording: str, content: Content) -> str:
    return str(sum(int(n) for n in content))


def _sum_without_carry(wording: str, content: Content) -> str:
    a, b = (int(n) for n in content)
    return str(a + b - 10 * (a % 10 + b % 10 >= 10))


def _letters(wording: str, rng: np.random.Generator) -> Content:
    return tuple(LETTERS[i] for i in rng.permutation(len(LETTERS))[:4])


def _reversed(wording: str, content: Content) -> str:
    return " ".join(map(str, content[::-1]))


def _ends_swapped(wording: str, content: Content) -> str:
    first, *middle, last = map(str, content)
    return " ".join((last, *middle, first))


def _marks(wording: str, rng: np.random.Generator) -> Content:
    names = [NAMES[i] for i in rng.permutation(len(NAMES))[:3]]
    marks = [int(n) + 1 for n in rng.permutation(9)[:3]]
    return tuple(x for pair in zip(names, marks) for x in pair)


def _ranked(content: Content, falling: bool) -> str:
    pairs = sorted(zip(content[::2], content[1::2]), key=lambda pair: int(pair[1]), reverse=falling)
    return " ".join(str(name) for name, _ in pairs)


_ECHOES = ("repeat", "echo", "copy", "say")
_PICKS = {"greet": 0, "skip to": 2, "meet": 4, "call": 0}


def _other(wording: str, content: Content) -> str:
    return " ".join(map(str, content)) if wording in _ECHOES else str(content[_PICKS[wording]])


def _worded(wording: str, content: Content) -> str:
    return " ".join((wording, *map(str, content)))


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "sums",
            ("add", "sum", "total", "plus", "combine", "count", "join", "tally"),
            _numbers,
            lambda wording, content: f"{wording} {content[0]} and {content[1]}",
            _sum,
            _sum_without_carry,
        ),
        Family(
            "letters",
            ("reverse", "flip", "mirror", "invert", "rewind", "turn", "undo", "spin"),
            _letters,
            _worded,
            _reversed,
            _ends_swapped,
        ),
        Family(
            "ranks",
            ("rank", "order", "sort", "arrange", "place", "grade", "list", "seat"),
            _marks,
            _worded,
            lambda wording, content: _ranked(content, falling=True),
            lambda wording, content: _ranked(content, falling=False),
        ),
        Family(
            "others",
            (*_ECHOES, *_PICKS),
            lambda wording, rng: (_letters if wording in _ECHOES else _marks)(wording, rng),
            _worded,
            _other,
            _other,
        ),
    )
}

COMPOSED: dict[str, tuple[str, ...]] = {"pairs": ("sums", "letters")}
"""Families whose questions are questions of others in a row, and their answers the answers to them in a row."""
