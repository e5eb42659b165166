"""The largest number that fits, in few tries, where each try takes a compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Try = dict[str, Any]


def largest(attempt: Callable[[int], Try], unit: int, limit: int = 2**16) -> list[Try]:
    """Every try on the way to the largest multiple of `unit` that fits, in order.

    attempt: N -> a dict with "fits" and "needed_gib", "available_gib". N doubles from `unit` until it is refused or
    reaches `limit`; then the gap closes, alternately by halving it and by the straight line through what the two
    largest fitting sizes need, because memory grows with N nearly so.
    """
    tries: dict[int, Try] = {}
    step = unit
    while step <= limit:
        tries[step] = attempt(step)
        if not tries[step]["fits"]:
            break
        step *= 2
    while gap := _gap(tries, unit):
        low, high = gap
        middle = low + (high - low) // (2 * unit) * unit
        guess = _on_the_line(tries, unit) if len(tries) % 2 else middle
        chosen = min(max(guess, low + unit), high - unit)
        tries[chosen] = attempt(chosen)
    return list(tries.values())


def _gap(tries: dict[int, Try], unit: int) -> tuple[int, int] | None:
    """The largest N that fits and the smallest that does not, while there are sizes between them."""
    high = min((n for n, found in tries.items() if not found["fits"]), default=0)
    low = max((n for n, found in tries.items() if found["fits"]), default=0)
    return (low, high) if low and high - low > unit else None


def _on_the_line(tries: dict[int, Try], unit: int) -> int:
    """Where the line through the two largest fitting sizes reaches the memory there is, as a multiple of `unit`."""
    fitting = sorted(n for n, found in tries.items() if found["fits"])[-2:]
    if len(fitting) < 2:
        return 0
    (n, a), (m, b) = ((size, tries[size]["needed_gib"]) for size in fitting)
    slope = (b - a) / (m - n)
    room = tries[m]["available_gib"] - b
    return m + int(room / slope / unit) * unit if slope > 0 else 0
