"""The communication of a compiled program, read from its HLO text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from seal_jax.runtime.collectives import collective_of, computations

_ENTRY = re.compile(r"^ENTRY %?([\w.\-]+) ", re.MULTILINE)
_WHILE = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_BRANCHES = re.compile(r" conditional\(.*branch_computations=\{([^}]*)\}")
_CALLS = re.compile(r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_COUNTER = re.compile(r" constant\((\d+)\)")


class Moved(NamedTuple):
    """One kind of collective: how many are in the program, how many are executed in a call of it, and the bytes that
    those executed yield on each device (which is not what travels: that depends on the algorithm)."""

    count: int
    executed: float
    bytes: float


def moved(text: str, branch_shares: Sequence[float] = (), trips: int = 1) -> dict[str, Moved]:
    """`{kind: Moved}` of an HLO module's text, for the kinds that occur.

    A loop over a counter counts as often as it runs, another one `trips` times. Branch i of a conditional with as many
    branches as `branch_shares` counts with its share, those of another one fully.
    """
    bodies = computations(text)
    entry = _ENTRY.search(text)
    found: dict[str, Moved] = {}
    for name, times in _executions(entry[1] if entry else "", bodies, branch_shares, trips).items():
        for line in bodies.get(name, ()):
            if one := collective_of(line):
                before = found.get(one.kind, Moved(0, 0.0, 0.0))
                found[one.kind] = Moved(before.count + 1, before.executed + times, before.bytes + times * one.bytes)
    return found


def _executions(entry: str, bodies: dict[str, list[str]], shares: Sequence[float], trips: int) -> dict[str, float]:
    """How often each computation reached from the entry is executed."""
    times: dict[str, float] = {}
    todo = [(entry, 1.0)]
    while todo:
        name, factor = todo.pop()
        times[name] = times.get(name, 0.0) + factor
        for line in bodies.get(name, ()):
            todo += [(callee, factor * f) for callee, f in _callees(line, bodies, shares, trips)]
    return times


def _callees(
    line: str, bodies: dict[str, list[str]], shares: Sequence[float], trips: int
) -> Iterator[tuple[str, float]]:
    if match := _WHILE.search(line):
        yield match[2], _trip_count(bodies[match[1]], trips)
    elif match := _BRANCHES.search(line):
        names = [name.strip().lstrip("%") for name in match[1].split(",")]
        yield from zip(names, shares if len(shares) == len(names) else [1.0] * len(names))
    else:
        yield from ((name, 1.0) for name in _CALLS.findall(line) if name in bodies)


def _trip_count(condition: Sequence[str], trips: int) -> int:
    """The n of a condition that is `counter < n` and nothing else."""
    computed = [line for line in condition if " parameter(" not in line and " get-tuple-element(" not in line]
    bounds = [int(match[1]) for line in computed if (match := _COUNTER.search(line))]
    plain = len(computed) == 2 and len(bounds) == 1 and any("direction=LT" in line for line in computed)
    return bounds[0] if plain else trips
