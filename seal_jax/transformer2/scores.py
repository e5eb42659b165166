"""Accuracies of attempts and their paired differences, with standard errors over problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seal_jax import models
from seal_jax.adapters import Adapter
from seal_jax.data.problems import Problem
from seal_jax.evaluation.matrix import known_error, known_mean
from seal_jax.generation.bank import Layered
from seal_jax.transformer2.attempts import attempt, under
from seal_jax.transformer2.tasks import Task

Verdicts = Sequence[bool | None]


def verdicts(
    model: models.Model,
    task: Task,
    problems: Sequence[Problem],
    adapter: Adapter | None = None,
    factors: Adapter | Layered | None = None,
    compose: str = "scaled",
    rows: int = 64,
    on_progress: Any = None,
) -> list[bool | None]:
    """The grades of one greedy attempt at each problem, by the base or under one adapter; see `attempt`."""
    how = under(adapter, len(problems), factors, compose)
    found = attempt(model, task, problems, rows=rows, on_progress=on_progress, **how)
    return [attempts[0].correct for attempts in found]


def compared(found: Mapping[str, Verdicts], base: str = "base") -> dict[str, Any]:
    """`{name: summary(...), ..., "differences": {"name - base": paired(...)}}` of verdicts on the same problems."""
    differences = {f"{name} - {base}": paired(each, found[base]) for name, each in found.items() if name != base}
    return {**{name: summary(each) for name, each in found.items()}, "differences": differences}


def summary(correct: Verdicts) -> dict[str, float]:
    """`{"accuracy", "stderr", "problems"}` of verdicts, one a problem; None is ungraded and counts in no mean.

    stderr is of the mean, with n - 1 (NaN for one problem); "ungraded", how many, is there where some are. Accuracy and
    stderr are NaN where nothing is graded.
    """
    values = [float(c) for c in correct if c is not None]
    ungraded = len(correct) - len(values)
    return {
        "accuracy": known_mean(values),
        "stderr": known_error(values),
        "problems": len(correct),
        **({"ungraded": ungraded} if ungraded else {}),
    }


def paired(a: Verdicts, b: Verdicts) -> dict[str, float]:
    """`{"difference", "stderr", "problems"}`: mean of a - b over the problems that both grade, paired.

    Raises ValueError for lists of different lengths, which cannot be of the same problems.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} verdicts and {len(b)}: a paired difference needs both of the same problems")
    values = [float(x) - float(y) for x, y in zip(a, b) if x is not None and y is not None]
    return {"difference": known_mean(values), "stderr": known_error(values), "problems": len(values)}
