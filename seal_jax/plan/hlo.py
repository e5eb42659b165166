"""The communication of a compiled program, read from its HLO text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|bf16|[a-z]+\d+)(?:e\w+)?\[([\d,]*)\]")
_WHILE = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_BRANCHES = re.compile(r" conditional\(.*branch_computations=\{([^}]*)\}")
_CALLS = re.compile(r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_COUNTER = re.compile(r" constant\((\d+)\)")


class Collective(NamedTuple):
    """One kind of collective: how many are in the program, how many are executed in a call of it, and the bytes that
    those executed yield on each device (which is not what travels: that depends on the algorithm)."""

    count: int
    executed: float
    bytes: float


def collectives(text: str, branch_shares: Sequence[float] = (), trips: int = 1) -> dict[str, Collective]:
    """`{kind: Collective}` of an HLO module's text, for the kinds that occur.

    A loop over a counter counts as often as it runs, another one `trips` times. Branch i of a conditional with as many
    branches as `branch_shares` counts with its share, those of another one fully.
    """
    entry, computations = _computations(text)
    found: dict[str, Collective] = {}
    for name, times in _executions(entry, computations, branch_shares, trips).items():
        for line in computations[name]:
            if match := _COLLECTIVE.search(line):
                kind, before = match[2], found.get(match[2], Collective(0, 0.0, 0.0))
                size = times * _result_bytes(match[1], started=match[3] is not None and kind != "all-reduce")
                found[kind] = Collective(before.count + 1, before.executed + times, before.bytes + size)
    return found


def _computations(text: str) -> tuple[str, dict[str, list[str]]]:
    entry, name, computations = "", "", {}
    for line in text.splitlines():
        if not line.startswith(" ") and (match := _HEADER.match(line)):
            name = match[2]
            entry = name if match[1] else entry
            computations[name] = []
        elif name and line.startswith(" "):
            computations[name].append(line)
    return entry, computations


def _executions(
    entry: str, computations: dict[str, list[str]], shares: Sequence[float], trips: int
) -> dict[str, float]:
    """How often each computation reached from the entry is executed."""
    times: dict[str, float] = {}
    todo = [(entry, 1.0)]
    while todo:
        name, factor = todo.pop()
        times[name] = times.get(name, 0.0) + factor
        for line in computations[name]:
            todo += [(callee, factor * f) for callee, f in _callees(line, computations, shares, trips)]
    return times


def _callees(
    line: str, computations: dict[str, list[str]], shares: Sequence[float], trips: int
) -> Iterator[tuple[str, float]]:
    if match := _WHILE.search(line):
        yield match[2], _trip_count(computations[match[1]], trips)
    elif match := _BRANCHES.search(line):
        names = [name.strip().lstrip("%") for name in match[1].split(",")]
        yield from zip(names, shares if len(shares) == len(names) else [1.0] * len(names))
    else:
        yield from ((name, 1.0) for name in _CALLS.findall(line) if name in computations)


def _trip_count(condition: Sequence[str], trips: int) -> int:
    """The n of a condition that is `counter < n` and nothing else."""
    computed = [line for line in condition if " parameter(" not in line and " get-tuple-element(" not in line]
    bounds = [int(match[1]) for line in computed if (match := _COUNTER.search(line))]
    plain = len(computed) == 2 and len(bounds) == 1 and any("direction=LT" in line for line in computed)
    return bounds[0] if plain else trips


def _result_bytes(shape: str, started: bool) -> int:
    """Bytes of a result type; of a started collective the tuple (operand, result, ...) counts with its result."""
    arrays = [
        _bits(kind) * math.prod(int(n) for n in dims.split(",") if n) // 8 for kind, dims in _ARRAY.findall(shape)
    ]
    return arrays[1] if started and len(arrays) > 1 else sum(arrays)


def _bits(kind: str) -> int:
    return 8 if kind == "pred" else int(re.sub(r"\D", "", kind))
