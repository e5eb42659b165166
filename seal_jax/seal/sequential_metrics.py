"""What sequences of self-edits did to the model: figures and curves from accuracy matrices. NumPy only.

A matrix is `[steps + 1, items]`: row 0 is the model before any edit, row r column i the accuracy on item i after r
edits, NaN where it was not asked. Item i is edited at step i + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seal_jax.evaluation.matrix import from_matrix, known_error, known_mean

Estimate = dict[str, float]
"""`{"mean", "stderr"}` over sequences; the error is NaN for a single one."""


def summary(matrices: ArrayLike) -> dict[str, Any]:
    """Figures of matrices `[sequences, steps + 1, steps]`, each a mean over sequences with its standard error.

    "base", "la", "op": mean accuracy before any edit, right after an item's own (learning accuracy), and at the end
    (overall performance); "gain": la - base; "final_gain": op - base, below 0 where it was better never to edit;
    "forgetting", "forgetting_last", "bwt": as in `evaluation.matrix.from_matrix`; "gain_by_age", "change_by_age": as
    those functions.
    Cells that should have been asked and are NaN (no question, or none graded) do not count.
    """
    found = _checked(matrices)
    rows = [_figures(m) for m in found]
    return {
        "sequences": len(found),
        "steps": found.shape[2],
        **{name: estimate([row[name] for row in rows]) for name in rows[0]},
        "gain_by_age": gain_by_age(found),
        "change_by_age": change_by_age(found),
    }


def gain_by_age(matrices: ArrayLike) -> list[Estimate]:
    """Accuracy over the model before any edit, by the number of edits since an item's own: `{"age", "mean", "stderr"}`.

    For each age the mean over the items that became so old, then mean and standard error over sequences.
    """
    found = _checked(matrices)
    return _by_age(found, found[:, 0])


def change_by_age(matrices: ArrayLike) -> list[Estimate]:
    """`gain_by_age` over the accuracy right after the item's own edit: 0 at age 0, below it what was forgotten.

    Items that are old are early ones; here each is compared with itself, so that it does not matter how well early
    ones were learned.
    """
    found = _checked(matrices)
    items = np.arange(found.shape[2])
    return _by_age(found, found[:, items + 1, items])


def _by_age(found: np.ndarray, reference: np.ndarray) -> list[Estimate]:
    ages = []
    for age in range(found.shape[2]):
        items = np.arange(found.shape[2] - age)
        changes = found[:, items + 1 + age, items] - reference[:, items]
        ages.append({"age": age, **estimate([known_mean(c) for c in changes])})
    return ages


def mean_matrix(matrices: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over sequences of each cell, `[steps + 1, items]`; NaN where nothing was asked."""
    found = _checked(matrices)
    cells = [[estimate(found[:, r, i]) for i in range(found.shape[2])] for r in range(found.shape[1])]
    return tuple(np.array([[cell[k] for cell in row] for row in cells]) for k in ("mean", "stderr"))  # pyright: ignore


def estimate(values: ArrayLike) -> Estimate:
    """Mean and standard error of the mean of those values that are no NaN."""
    return {"mean": known_mean(values), "stderr": known_error(values)}


def difference(a: ArrayLike, b: ArrayLike) -> dict[str, Estimate]:
    """`summary`'s figures of `a` minus those of `b`, paired by sequence: both `[sequences, steps + 1, steps]`."""
    a, b = _checked(a), _checked(b)
    if a.shape != b.shape:
        raise ValueError(f"paired matrices are of the same sequences: shapes {a.shape} and {b.shape} differ")
    ours, theirs = ([_figures(m) for m in x] for x in (a, b))
    return {name: estimate([x[name] - y[name] for x, y in zip(ours, theirs)]) for name in ours[0]}


def recorded(matrices: ArrayLike, dataset: str, base_model: str) -> dict[str, Any]:
    """One run in the reference's format: means and sample deviations over its sequences, 0.0 where nothing was asked.

    The reference fills cells without a question with 0.0, which reads like an accuracy; our own files have null.
    `recorded.sequential` puts several runs together, by both conventions for their deviations.
    """
    found = _checked(matrices)
    mean, error = mean_matrix(found)
    known = np.isfinite(found).sum(0)
    return {
        "mean_over_sequences": np.nan_to_num(mean).tolist(),
        "std_over_sequences": np.nan_to_num(error * known**0.5).tolist(),
        "n_sequences": len(found),
        "n_datapoints": found.shape[2],
        "dataset": dataset,
        "base_model": base_model,
    }


def _figures(matrix: np.ndarray) -> dict[str, float]:
    known = from_matrix(matrix[1:])
    base = known_mean(matrix[0])
    found = {"base": base, "la": known["la"], "op": known["op"]}
    changes = {"gain": known["la"] - base, "final_gain": known["op"] - base}
    return {**found, **changes, **{name: known[name] for name in ("forgetting", "forgetting_last", "bwt")}}


def _checked(matrices: ArrayLike) -> np.ndarray:
    found = np.asarray(matrices, np.float64)
    if found.ndim != 3 or found.shape[1] != found.shape[2] + 1 or not found.size:
        raise ValueError(f"matrices have the shape {found.shape}: give [sequences, steps + 1, steps]")
    return found
