"""What the devices of a mesh say to one another, read from a compiled program."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")

_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|bf16|[a-z]+\d+)(?:e\w+)?\[([\d,]*)\]")
_CALLED = re.compile(r"(?:condition|body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


class Collective(NamedTuple):
    """One collective of a program.

    shapes: of what it yields on each device, "f32[2,8]", several where XLA has joined collectives into one; bytes: of
    those; loops: how many loops it is inside of; source: the JAX operation it is for.
    """

    kind: str
    shapes: tuple[str, ...]
    bytes: int
    loops: int
    source: str


def collectives(text: str) -> list[Collective]:
    """The collectives of an HLO module's text, as `jax.stages.Compiled.as_text` gives it, in the order of the text.

    A computation that is called from several places is listed once, with the most loops of any of them.
    """
    bodies = computations(text)
    depths = _depths(bodies)
    return [
        found
        for name, lines in bodies.items()
        for line in lines
        if (found := collective_of(line, depths.get(name, 0))) is not None
    ]


def counts(text: str, in_loop: bool | None = None) -> dict[str, int]:
    """`{kind: how many}` of a program; in_loop: only those inside, or only those outside of any loop."""
    found = (c for c in collectives(text) if in_loop is None or bool(c.loops) == in_loop)
    return dict(Counter(c.kind for c in found))


def collective_of(line: str, loops: int = 0) -> Collective | None:
    """The collective of one line of HLO text, None for another operation; loops: noted in it."""
    match = _COLLECTIVE.search(line)
    if match is None:
        return None
    arrays = _ARRAY.findall(match[1])
    if match[3] and match[2] != "all-reduce" and len(arrays) > 1:
        arrays = arrays[1:2]  # a started collective yields (operand, result, ...)
    size = sum(_bits(kind) * math.prod(int(n) for n in dims.split(",") if n) // 8 for kind, dims in arrays)
    source = re.search(r'op_name="([^"]*)"', line)
    shapes = tuple(f"{kind}[{dims}]" for kind, dims in arrays)
    return Collective(match[2], shapes, size, loops, source[1] if source else "")


def _bits(kind: str) -> int:
    return 8 if kind == "pred" else int(re.sub(r"\D", "", kind))


def computations(text: str) -> dict[str, list[str]]:
    """`{name: lines}` of the computations of an HLO module's text."""
    name, found = "", {}
    for line in text.splitlines():
        if not line.startswith(" ") and (match := _HEADER.match(line)):
            name = match[1]
            found[name] = []
        elif name and line.startswith(" "):
            found[name].append(line)
    return found


def _depths(computations: dict[str, list[str]]) -> dict[str, int]:
    """How many loops each computation is inside of."""
    depths = dict.fromkeys(computations, 0)
    edges = [edge for name, lines in computations.items() for line in lines for edge in _calls(name, line)]
    changed = True
    while changed:
        changed = False
        for caller, callee, loop in edges:
            if callee in depths and depths[callee] < depths[caller] + loop:
                depths[callee], changed = depths[caller] + loop, True
    return depths


def _calls(name: str, line: str) -> Iterator[tuple[str, str, int]]:
    loop = int(" while(" in line)
    for callee in _CALLED.findall(line):
        yield name, callee, loop
    for branches in _BRANCHES.findall(line):
        yield from ((name, branch.strip().lstrip("%"), 0) for branch in branches.split(","))
