"""Floating-point operations of a traced program, counted from its matrix products."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any


def matmul_flops(jaxpr: Any, branch_shares: Sequence[float] = (), trips: int = 1) -> float:
    """2 x multiply-adds of every `dot_general` of a (closed) jaxpr, all devices together.

    A scan counts as often as it runs, which a compiler's own count does not do. Of a conditional with as many
    branches as `branch_shares`, branch i counts with its share of the executions; of another one, the dearest.
    A while loop, whose end is up to the data, counts `trips` times.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    return sum(_equation(eqn, branch_shares, trips) for eqn in jaxpr.eqns)


def _equation(eqn: Any, shares: Sequence[float], trips: int) -> float:
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = eqn.invars[0].aval.shape
        return 2.0 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    inner = [matmul_flops(j, shares, trips) for j in _jaxprs(params)]
    if name == "scan":
        return params["length"] * sum(inner)
    if name == "while":
        return trips * sum(inner)
    if name == "cond":
        return sum(s * f for s, f in zip(shares, inner)) if len(shares) == len(inner) else max(inner)
    return sum(inner)


def _jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(getattr(item, "jaxpr", item), "eqns"):
                yield item
