"""Summaries of sequential edits: accuracy matrices of runs, and what several runs are together.

A matrix is `[n + 1, n]` for n edits: row r, column i is the accuracy on item i after r edits. Row 0 is full; row r >= 1
has the items 0 to r - 1, and zeros beyond them, which stand for nothing.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from seal_jax.data import json_fields
from seal_jax.seal import sequential_metrics
from seal_jax.seal.recorded.files import Recorded

MATRICES = ("mean_over_sequences", "std_over_sequences")


class Run(NamedTuple):
    """A summary: means and standard deviations over sequences, float64 `[n + 1, n]`, and how many sequences there are.

    Cells that stand for nothing are 0; NaN is a cell that should have a number and has none.
    """

    path: pathlib.Path
    mean: np.ndarray
    std: np.ndarray
    sequences: int
    about: dict[str, Any]


def run_of(found: Recorded) -> Run:
    """The summary in a file. ValueError naming file, row and column for what cannot be used."""
    where, value = str(found.path), found.value
    items = json_fields.get(value, "n_datapoints", int, where) if "n_datapoints" in value else None
    mean, std = (_matrix(value, key, items, where) for key in MATRICES)
    if mean.shape != std.shape:
        raise ValueError(f"{where}: {MATRICES[0]} is {mean.shape} and {MATRICES[1]} is {std.shape}; expected the same")
    sequences = json_fields.get(value, "n_sequences", int, where)
    if sequences < 1:
        raise ValueError(f"{where}: 'n_sequences' is {json_fields.shown(sequences)}; expected 1 or more")
    about = {key: value.get(key) for key in ("dataset", "base_model")}
    return Run(found.path, mean, std, sequences, about)


def combined(runs: Sequence[Run]) -> dict[str, Any]:
    """Several runs as one: the keys of a summary, 4 decimals, and `standard_deviations` by convention.

    A sequence counts the same in whichever run it is. `mean_of_run_stds` is the plain mean of the runs' standard
    deviations, which is what the reference recorded; `pooled` is the sample standard deviation of all sequences
    together, from the runs' means m, deviations s and sizes n: sqrt(sum((n - 1) s^2 + n (m - M)^2) / (N - 1)).
    Raises ValueError if the runs' matrices have different shapes.
    """
    shapes = {run.mean.shape for run in runs}
    if len(shapes) > 1:
        other = next(run for run in runs if run.mean.shape != runs[0].mean.shape)
        raise ValueError(
            f"{other.path}: its matrix is {other.mean.shape}, and that of {runs[0].path} {runs[0].mean.shape}; runs of "
            "one set have as many edits"
        )
    counts = np.array([run.sequences for run in runs], np.float64)[:, None, None]
    means, stds = np.stack([run.mean for run in runs]), np.stack([run.std for run in runs])
    mean = (counts * means).sum(0) / counts.sum()
    squares = ((counts - 1) * stds**2 + counts * (means - mean) ** 2).sum(0)
    pooled = np.sqrt(squares / max(counts.sum() - 1, 1))
    deviations = {"mean_of_run_stds": _listed(stds.mean(0)), "pooled": _listed(pooled)}
    overall = _summary(_listed(mean), deviations["mean_of_run_stds"], runs)
    return {"overall": overall, "standard_deviations": deviations, "metrics": metrics(mean)}


def single(run: Run) -> dict[str, Any]:
    """One summary by itself, with the numbers it states: there is nothing finer in the file to compute them from."""
    overall = _summary(run.mean.tolist(), run.std.tolist(), [run])
    return {"overall": overall, "metrics": metrics(run.mean)}


def metrics(mean: np.ndarray) -> dict[str, Any]:
    """What a matrix `[n + 1, n]` of means says, 4 decimals: the figures of `sequential_metrics.summary`, by its names.

    They are those of the mean matrix. All but `forgetting` are also the means of the sequences' own; the best accuracy
    of a mean is at most the mean of the best ones, so that `forgetting` may be below theirs.
    """
    found = sequential_metrics.summary(mean[None])
    figures = {name: row for name, row in found.items() if name not in ("sequences", "steps")}
    return {
        name: [round(age["mean"], 4) for age in row] if isinstance(row, list) else round(row["mean"], 4)
        for name, row in figures.items()
    }


def _summary(mean: list[Any], std: list[Any], runs: Sequence[Run]) -> dict[str, Any]:
    about = {key: _common([run.about[key] for run in runs]) for key in ("dataset", "base_model")}
    sizes = {"n_sequences": sum(run.sequences for run in runs), "n_datapoints": len(mean) - 1}
    return {**dict(zip(MATRICES, (mean, std))), **sizes, **about}


def _common(values: Sequence[Any]) -> Any:
    """What all runs say, or everything that they say where they differ."""
    distinct = [value for i, value in enumerate(values) if value not in values[:i]]
    return distinct[0] if len(distinct) == 1 else distinct


def _matrix(value: Any, key: str, items: int | None, where: str) -> np.ndarray:
    rows = json_fields.get(value, key, list, where)
    n = len(rows) - 1 if items is None else items
    if n < 1 or len(rows) != n + 1:
        raise ValueError(f"{where}: {key!r} has {len(rows)} rows; expected one more than the {n} items of a sequence")
    found = np.zeros((n + 1, n))
    for r, row in enumerate(rows):
        here = f"{where}: {key!r}, row {r}"
        if not isinstance(row, list) or len(row) != n:
            raise ValueError(f"{here} should be a list of {n} numbers, not {json_fields.shown(row)}")
        for i in range(n if r == 0 else r):
            found[r, i] = json_fields.number(row[i], f"{here}, column {i}")
            if not 0 <= found[r, i] <= 1 and not np.isnan(found[r, i]):
                raise ValueError(f"{here}, column {i} is {found[r, i]}; expected an accuracy, 0 to 1")
    return found


def _listed(matrix: np.ndarray) -> list[list[float]]:
    return [[round(cell, 4) for cell in row] for row in matrix.tolist()]
