"""Metrics of continual learning from an accuracy matrix; NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def from_matrix(
    scores: ArrayLike, baseline: ArrayLike | None = None, single: ArrayLike | None = None
) -> dict[str, float]:
    """The usual figures of `scores [T, T]`, where `scores[i, j]` is the score on task j after learning task i.

    What lies above the diagonal is used by "fwt" alone and may otherwise be NaN or 0. NaN on or below it is a score
    that is not known: means are of the known ones.
    "op": overall performance, the mean of the last row; "la": learning accuracy, the mean of the diagonal; "aaa":
    average over i of the mean over the tasks learned by then; "bwt": backward transfer, last row minus diagonal;
    "forgetting": best score before the last row minus the last, with "forgetting_max_all" the last row among those that
    the best is of, and with "forgetting_last" the diagonal in place of the best. Those four are means over all tasks
    but the last, NaN where there is one task only.
    baseline `[T]`, scores before any learning: adds "fwt", forward transfer, the score just before a task is learned
    minus its baseline. single `[T]`, scores of a model that learned that task alone: adds "fwt_vs_single".
    Raises ValueError for shapes that do not fit.
    """
    r = np.asarray(scores, np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or not r.size:
        raise ValueError(f"scores have the shape {r.shape}: give a square matrix, a row for each task learned")
    found = {
        "op": known_mean(r[-1]),
        "la": known_mean(np.diagonal(r)),
        "aaa": known_mean(curve(r)),
        **{name: known_mean(values) for name, values in changes(r).items()},
    }
    if baseline is not None:
        found["fwt"] = known_mean(forward(r, baseline))
    if single is not None:
        found["fwt_vs_single"] = known_mean(np.diagonal(r) - vector("single", single, len(r)))
    return found


def curve(r: np.ndarray) -> np.ndarray:
    """After each task of scores `r [T, T]` the mean over those learned by then: float64 `[T]`."""
    return np.array([known_mean(r[i, : i + 1]) for i in range(len(r))])


def changes(r: np.ndarray) -> dict[str, np.ndarray]:
    """What "bwt" and the kinds of "forgetting" are means of: for all tasks but the last of `r [T, T]`, `[T - 1]` each.

    What is not known is not finite.
    """
    last, diagonal = r[-1], np.diagonal(r)
    known = np.where(np.tril(np.ones_like(r, bool)) & ~np.isnan(r), r, -np.inf)
    best = known[:-1].max(0, initial=-np.inf)
    found = {
        "bwt": last - diagonal,
        "forgetting": best - last,
        "forgetting_max_all": np.fmax(best, last) - last,
        "forgetting_last": diagonal - last,
    }
    return {name: values[:-1] for name, values in found.items()}


def forward(r: np.ndarray, baseline: ArrayLike) -> np.ndarray:
    """What "fwt" is the mean of, `[T]`: scores just before a task is learned minus its baseline, NaN for the first."""
    return np.append(np.nan, np.diagonal(r, offset=1)) - vector("baseline", baseline, len(r))


def known_mean(values: ArrayLike) -> float:
    """The mean of those values that are finite; NaN without any."""
    kept = np.asarray(values, np.float64)
    kept = kept[np.isfinite(kept)]
    return float(kept.mean()) if kept.size else float("nan")


def known_error(values: ArrayLike) -> float:
    """The standard error of `known_mean`; NaN of fewer than two."""
    kept = np.asarray(values, np.float64)
    kept = kept[np.isfinite(kept)]
    return float(kept.std(ddof=1) / np.sqrt(kept.size)) if kept.size > 1 else float("nan")


def vector(name: str, values: ArrayLike, count: int) -> np.ndarray:
    """One score for each task, float64 `[count]`. Raises ValueError, naming it, for another shape."""
    found = np.asarray(values, np.float64)
    if found.shape != (count,):
        raise ValueError(f"{name} has the shape {found.shape}: give one score for each of the {count} tasks")
    return found
