"""Regular expressions over module names, as PEFT matches them, in bounded time.

Patterns come from downloaded files, and Python's `re` can be made to run for years by one of them. A module name is
short, so a set of positions in it is one integer; each part of a pattern maps the positions where it may begin to those
where it may end. That gives the answer of `re.fullmatch` without backtracking.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from re import _constants as ops  # pyright: ignore[reportAttributeAccessIssue]
from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any

from seal_jax.models.errors import CheckpointError

_STEPS = 20_000  # of one pattern on one name; patterns seen in the wild take about a thousand
_MAX_LENGTH = 20_000
_CATEGORIES = {
    ops.CATEGORY_DIGIT: re.compile(r"\d"),
    ops.CATEGORY_NOT_DIGIT: re.compile(r"\D"),
    ops.CATEGORY_SPACE: re.compile(r"\s"),
    ops.CATEGORY_NOT_SPACE: re.compile(r"\S"),
    ops.CATEGORY_WORD: re.compile(r"\w"),
    ops.CATEGORY_NOT_WORD: re.compile(r"\W"),
}


class Pattern:
    """A regular expression that a whole string is compared with."""

    def __init__(self, text: str, where: str) -> None:
        """Parse `text`; `where` is what an error calls it. Raises CheckpointError for one that cannot be used."""
        self._where = f"{where}: {text[:80]!r}"
        if len(text) > _MAX_LENGTH:
            raise CheckpointError(f"{self._where}... has {len(text)} characters; expected {_MAX_LENGTH} at most")
        try:
            self._parsed = parser.parse(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise CheckpointError(f"{self._where} is not a regular expression ({error})") from error
        if self._parsed.state.flags & ~re.UNICODE:
            raise self._unsupported("flags such as (?i)")

    def fullmatch(self, name: str) -> bool:
        """What `bool(re.fullmatch(text, name))` is. Raises CheckpointError for a pattern that is too complex."""
        try:
            return bool(_Match(name, self._unsupported).run(self._parsed, 1) >> len(name))
        except RecursionError:
            raise self._unsupported("so deep a nesting") from None

    def _unsupported(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self._where} uses {what}, which is not supported; expected characters, classes, groups, alternatives, "
            "repeats and look-ahead"
        )


class _Match:
    """Positions in one name as the bits of an integer: bit i is before character i."""

    def __init__(self, name: str, unsupported: Callable[[str], CheckpointError]) -> None:
        self.name, self.unsupported, self.steps = name, unsupported, 0
        self._where = {c: sum(1 << i for i, d in enumerate(name) if c == d) for c in set(name)}

    def run(self, sequence: Any, begin: int) -> int:
        """The positions where a sequence of parts can end if it begins at one of the positions `begin`."""
        for op, value in sequence:
            self.steps += 1
            if self.steps > _STEPS:
                raise self.unsupported("more repeats inside of repeats than can be tried")
            begin = self._part(op, value, begin)
            if not begin:
                break
        return begin

    def _part(self, op: Any, value: Any, begin: int) -> int:
        if op in (ops.LITERAL, ops.NOT_LITERAL, ops.ANY, ops.IN):
            return (begin & _union([bits for c, bits in self._where.items() if _accepts(op, value, c)])) << 1
        if op is ops.BRANCH:
            ends = [self.run(choice, begin) for choice in value[1]]
            return _union(ends)
        if op is ops.SUBPATTERN and not value[1] and not value[2]:
            return self.run(value[3], begin)
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            low, high, body = value
            return self._repeat(low, high, body, begin)
        if op is ops.AT:
            return begin & self._at(value)
        if op in (ops.ASSERT, ops.ASSERT_NOT) and value[0] == 1:
            return self._look_ahead(value[1], begin, wanted=op is ops.ASSERT)
        raise self.unsupported(str(op).lower().replace("_", " "))

    def _repeat(self, low: int, high: int, body: Any, begin: int) -> int:
        for _ in range(low):
            end = self.run(body, begin)
            if end == begin:
                break
            begin = end
        total = new = begin
        for _ in range(int(high) - low):
            new = self.run(body, new) & ~total
            if not new:
                break
            total |= new
        return total

    def _at(self, kind: Any) -> int:
        size = len(self.name)
        if kind in (ops.AT_BEGINNING, ops.AT_BEGINNING_STRING):
            return 1
        if kind in (ops.AT_END, ops.AT_END_STRING):
            return 1 << size
        word = [False, *(_CATEGORIES[ops.CATEGORY_WORD].match(c) is not None for c in self.name), False]
        return sum(1 << i for i in range(size + 1) if (word[i] != word[i + 1]) == (kind is ops.AT_BOUNDARY))

    def _look_ahead(self, body: Any, begin: int, *, wanted: bool) -> int:
        each = [1 << i for i in range(len(self.name) + 1) if begin >> i & 1]
        return _union([bit for bit in each if bool(self.run(body, bit)) == wanted])


def _union(positions: list[int]) -> int:
    total = 0
    for bits in positions:
        total |= bits
    return total


def _accepts(op: Any, value: Any, character: str) -> bool:
    """Whether one part that consumes one character consumes this one."""
    if op is ops.LITERAL:
        return ord(character) == value
    if op is ops.NOT_LITERAL:
        return ord(character) != value
    if op is ops.ANY:
        return character != "\n"
    if op is ops.RANGE:
        return value[0] <= ord(character) <= value[1]
    if op is ops.CATEGORY:
        return _CATEGORIES[value].match(character) is not None
    negate = value[0][0] is ops.NEGATE
    return any(_accepts(o, v, character) for o, v in value[negate:]) != negate
