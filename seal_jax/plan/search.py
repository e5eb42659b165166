"""The largest number that fits, in few tries, where each try takes a compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Try = dict[str, Any]
GROWTH = 8  # far too large is refused within a second, so that strides may be long


class Bracket(NamedTuple):
    """The largest N that fits (0: none) and the smallest that is refused (0: none yet)."""

    low: int
    high: int


def largest(attempt: Callable[[int], Try], unit: int, limit: int = 2**16) -> list[Try]:
    """Every try on the way to the largest multiple of `unit` that fits, in order.

    attempt: N -> a dict with "fits" and "needed_gib", "available_gib". N grows eightfold from `8 * unit` until it is
    refused or passes `limit`. Memory grows with N nearly in a straight line, so the next try is where the line through
    the two sides reaches the memory there is; the gap around it closes by doubling strides and then by halves.
    """
    tries: dict[int, Try] = {}
    bracket, step = Bracket(0, 0), unit * GROWTH
    while step <= limit and not bracket.high:
        tries[step] = attempt(step)
        bracket, step = _bracket(tries), step * GROWTH
    if not bracket.low:
        tries[unit] = attempt(unit)
        bracket = _bracket(tries)
    guess, stride = _on_the_line(tries, bracket, unit), unit
    while bracket.low and bracket.high - bracket.low > unit:
        chosen = min(max(guess, bracket.low + unit), bracket.high - unit)
        tries[chosen] = attempt(chosen)
        bracket = _bracket(tries)
        line = _on_the_line(tries, bracket, unit)
        beyond = max(bracket.low + stride, line) if tries[chosen]["fits"] else bracket.high - stride
        # A stride that would lead through most of the gap is no better than its half.
        middle = bracket.low + (bracket.high - bracket.low) // (2 * unit) * unit
        guess, stride = (beyond if 2 * stride < bracket.high - bracket.low else middle), 2 * stride
    return list(tries.values())


def _bracket(tries: dict[int, Try]) -> Bracket:
    low = max((n for n, found in tries.items() if found["fits"]), default=0)
    return Bracket(low, min((n for n, found in tries.items() if not found["fits"]), default=0))


def _on_the_line(tries: dict[int, Try], bracket: Bracket, unit: int) -> int:
    """Where the line through the two largest N that fit, or the one that does and the refused one, meets the limit."""
    if not (bracket.low and bracket.high):
        return 0
    fitting = sorted(n for n, found in tries.items() if found["fits"])
    other = fitting[-2] if len(fitting) > 1 else bracket.high
    slope = (tries[other]["needed_gib"] - tries[bracket.low]["needed_gib"]) / (other - bracket.low)
    room = tries[bracket.low]["available_gib"] - tries[bracket.low]["needed_gib"]
    return bracket.low + int(room / max(slope, 1e-9) / unit) * unit
