"""Figures of continual learning from a matrix of scores: what was learned, what was kept, what helped what."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seal_jax.evaluation import matrix

FIGURES = (
    *("op", "la", "aaa", "bwt", "bwt_lower", "forgetting", "forgetting_max_all", "forgetting_last"),
    *("fwt", "fwt_upper", "fwt_vs_single", "intransigence"),
)
"""The names of the figures, in the order they are shown in."""


def from_matrix(
    scores: ArrayLike | Sequence[Sequence[float]],
    baseline: ArrayLike | None = None,
    single: ArrayLike | None = None,
    joint: ArrayLike | None = None,
    *,
    holes: bool = False,
) -> dict[str, float]:
    """The usual figures of `scores [T, T]`, where `scores[i, j]` is the score on task j after learning task i.

    Scores are in any unit, and the figures are in the same. Above the diagonal there may be NaN, 0 or nothing (rows
    that end early), save right above it (`scores[j - 1, j]`) where a `baseline` is given.
    - "op" overall performance, the mean of the last row; "la" learning accuracy, the mean of the diagonal; "aaa" the
      average over i of the mean over the tasks learned by then (`curve`).
    - "bwt" backward transfer, last row minus diagonal; "bwt_lower" the mean of every score below the diagonal minus
      that of its column on it.
    - "forgetting": the best score before the last row minus the last row; "forgetting_max_all": with the last row among
      those that the best is of, from when the task was learned on, so it is never negative (mammoth takes the best of
      all rows: the same unless a task scored higher before it was learned); "forgetting_last": the diagonal in place
      of the best (avalanche), which is -bwt. Like "bwt" they are means over all tasks but the last, NaN where there is
      but one.
    - baseline `[T]`, scores before any learning: "fwt", the score just before a task is learned minus its baseline
      (GEM, mammoth, avalanche), without the first task, whose baseline may be NaN; "fwt_upper", the mean of what is
      above the diagonal (Diaz-Rodriguez), where all of that is known.
    - single `[T]`, scores of a model that learned that task alone: "fwt_vs_single", diagonal minus those.
    - joint `[T]`, scores on task j of a model that learned tasks 0..j together: "intransigence", those minus diagonal.

    Raises ValueError for shapes that do not fit and for a score that is read and not known (NaN), naming it; with
    `holes` means are of what is known.
    """
    r = square(scores)
    count, given = len(r), {"baseline": baseline, "single": single, "joint": joint}
    vectors = {name: matrix.vector(name, x, count) for name, x in given.items() if x is not None}
    if not holes:
        _refuse_holes(r, vectors)
    found = matrix.from_matrix(r, vectors.get("baseline"), vectors.get("single"))
    found["bwt_lower"] = matrix.known_mean((r - np.diagonal(r)[None, :])[np.tril_indices(count, -1)])
    upper = r[np.triu_indices(count, 1)]
    if baseline is not None and (holes or np.isfinite(upper).all()):
        found["fwt_upper"] = matrix.known_mean(upper)
    if joint is not None:
        found["intransigence"] = matrix.known_mean(vectors["joint"] - np.diagonal(r))
    return {name: found[name] for name in FIGURES if name in found}


def curve(scores: ArrayLike | Sequence[Sequence[float]]) -> np.ndarray:
    """Overall performance over time: float64 `[T]`, after each task the mean over those learned by then."""
    return matrix.curve(square(scores))


def by_task(
    scores: ArrayLike | Sequence[Sequence[float]], baseline: ArrayLike | None = None
) -> dict[str, list[float | None]]:
    """What the means of `from_matrix` are of, a list over the T tasks, None where a task has no such figure.

    "final" the last row; "learned" the diagonal; "bwt", "forgetting", "forgetting_max_all", "forgetting_last" of all
    tasks but the last; with a baseline "fwt" of all but the first.
    """
    r = square(scores)
    figures = {name: np.append(values, np.nan) for name, values in matrix.changes(r).items()}
    found = {"final": r[-1], "learned": np.diagonal(r), **figures}
    if baseline is not None:
        found["fwt"] = matrix.forward(r, baseline)
    return {name: [float(v) if np.isfinite(v) else None for v in x] for name, x in found.items()}


class Figure(NamedTuple):
    """A figure over several runs: mean, standard error of the mean (NaN of one run), and how many runs had it."""

    mean: float
    stderr: float
    runs: int


def over_runs(found: Sequence[dict[str, float]]) -> dict[str, Figure]:
    """The figures of runs that differ in their seed, as `from_matrix` returns them, name by name."""
    names = dict.fromkeys(itertools.chain.from_iterable(found))
    return {name: _figure([run[name] for run in found if name in run]) for name in names}


def square(scores: Any) -> np.ndarray:
    """Rows as a matrix float64 `[T, T]`; a row may end at the diagonal or later, the rest is NaN. Else ValueError."""
    rows = [np.asarray(row, np.float64) for row in scores]
    if not rows or any(row.ndim != 1 for row in rows):
        raise ValueError(f"scores have the shape {np.shape(scores)}: give a row of scores for each task learned")
    for i, row in enumerate(rows):
        if not i < len(row) <= len(rows):
            raise ValueError(
                f"row {i} of the scores has {len(row)} entries: after task {i} of {len(rows)} give {i + 1} to "
                f"{len(rows)}, one for each task"
            )
    return np.array([np.pad(row, (0, len(rows) - len(row)), constant_values=np.nan) for row in rows])


def _refuse_holes(r: np.ndarray, vectors: dict[str, np.ndarray]) -> None:
    read = np.tril(np.ones_like(r, bool), 1 if "baseline" in vectors else 0)
    holes = [f"scores[{i}][{j}]" for i, j in np.argwhere(read & ~np.isfinite(r))]
    first = {"baseline": 1}  # forward transfer begins with the second task
    unknown = [(name, j) for name, x in vectors.items() for j in np.flatnonzero(~np.isfinite(x))]
    holes += [f"{name}[{j}]" for name, j in unknown if j >= first.get(name, 0)]
    if holes:
        more = f" and {len(holes) - 3} more" if len(holes) > 3 else ""
        upper = " (a baseline is compared with what is right above the diagonal)" if "baseline" in vectors else ""
        raise ValueError(
            f"no number at {', '.join(holes[:3])}{more}{upper}: fill it in, or allow holes for means of what is known"
        )


def _figure(values: Sequence[float]) -> Figure:
    return Figure(matrix.known_mean(values), matrix.known_error(values), int(np.isfinite(values).sum()))
