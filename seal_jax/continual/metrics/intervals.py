"""Intervals of figures by resampling the test examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seal_jax.continual.metrics.matrix import from_matrix


class Interval(NamedTuple):
    """A figure, and the range that a share `level` of the resampled figures are in."""

    value: float
    low: float
    high: float


def bootstrap(
    outcomes: Sequence[ArrayLike], *, draws: int = 1000, level: float = 0.95, seed: int = 0, **vectors: Any
) -> dict[str, Interval]:
    """The figures of `from_matrix` with intervals over examples.

    outcomes: for each task j an array `[T, n_j]`, `[i, k]` what example k of task j scored after task i was learned; a
    row of NaN is not known. A draw takes n_j examples of each task with replacement, the same
    ones in every row, since a model that is tested twice meets the same examples. vectors: baseline, single, joint of
    `from_matrix`, either one score for each task, taken as it is, or for each task j an array `[n_j]` of what the same
    examples scored there, of which a draw takes the same ones too. The interval is of the examples, not of seeds: of
    one trained stream. Raises ValueError for outcomes that do not fit.
    """
    checked, figures = _prepared(outcomes, vectors)
    value = figures(_means(checked))
    resampled = [figures(r) for r in _resampled(checked, draws, seed)]
    return {name: _interval(value[name], [found[name] for found in resampled], level) for name in value}


def bootstrap_difference(
    outcomes: Sequence[ArrayLike],
    others: Sequence[ArrayLike],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    **vectors: Any,
) -> dict[str, Interval]:
    """The figures of `outcomes` minus those of `others`, with intervals over the examples both were tested on.

    Both as in `bootstrap`, with the same examples in the same places: each draw takes the same ones of both.
    """
    (one, figures), (two, _) = _prepared(outcomes, vectors), _prepared(others, vectors)
    if [x.shape for x in one] != [x.shape for x in two]:
        raise ValueError(f"outcomes of {[x.shape for x in one]} and {[x.shape for x in two]}: not of the same examples")
    value = _difference(figures(_means(one)), figures(_means(two)))
    pairs = zip(_resampled(one, draws, seed), _resampled(two, draws, seed), strict=True)
    resampled = [_difference(figures(a), figures(b)) for a, b in pairs]
    return {name: _interval(value[name], [found[name] for found in resampled], level) for name in value}


def _difference(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    return {name: first[name] - second[name] for name in first}


def _prepared(
    outcomes: Sequence[ArrayLike], vectors: dict[str, Any]
) -> tuple[list[np.ndarray], Callable[[np.ndarray], dict[str, float]]]:
    """For each task `[T + V, n_j]`, below the outcomes those of V vectors that are known by example; and the figures
    of means over examples, `[T + V, T]`.
    """
    checked = _checked(outcomes)
    count, sizes = len(checked), [x.shape[1:] for x in checked]
    by_example = {name: x for name, x in vectors.items() if x is not None and any(np.ndim(of) for of in x)}
    for name, x in by_example.items():
        shapes = [np.shape(of) for of in x]
        if shapes != sizes:
            raise ValueError(f"{name} has {shapes} for examples {sizes}: give what each example of each task scored")
    fixed = {name: x for name, x in vectors.items() if name not in by_example}

    def figures(means: np.ndarray) -> dict[str, float]:
        return from_matrix(means[:count], **fixed, **dict(zip(by_example, means[count:], strict=True)))

    below = [[np.asarray(x[task], np.float64) for x in by_example.values()] for task in range(count)]
    return [np.stack([*x, *rows]) for x, rows in zip(checked, below, strict=True)], figures


def _means(outcomes: list[np.ndarray]) -> np.ndarray:
    return np.stack([x.mean(1) for x in outcomes], 1)


def _resampled(outcomes: list[np.ndarray], draws: int, seed: int) -> np.ndarray:
    """Matrices of resampled examples: float64 `[draws, T, T]`; the same seed and sizes take the same examples."""
    if draws < 2:
        raise ValueError(f"draws={draws}: an interval needs 2 or more")
    columns = []
    for task, x in enumerate(outcomes):
        random, n = np.random.default_rng([seed, task]), x.shape[1]
        times = random.multinomial(n, np.full(n, 1 / n), size=draws)
        columns.append(times @ x.T / n)
    return np.stack(columns, -1)


def _checked(outcomes: Sequence[ArrayLike]) -> list[np.ndarray]:
    found = [np.asarray(x, np.float64) for x in outcomes]
    for task, x in enumerate(found):
        if x.ndim != 2 or len(x) != len(found) or not x.size:
            raise ValueError(
                f"outcomes of task {task} have the shape {x.shape}: give [{len(found)}, examples], a row for each task "
                "learned"
            )
        unknown = np.isnan(x)
        if (unknown.any(1) & ~unknown.all(1)).any():
            raise ValueError(f"outcomes of task {task}: some examples of a row have no score, NaN; leave them out")
    return found


def _interval(value: float, drawn: list[float], level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level={level}: the share of draws in the interval, between 0 and 1")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
