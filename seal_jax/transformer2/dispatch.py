"""Two-pass inference: pass 1 names the expert of each problem, pass 2 answers with it, experts mixed in every batch."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seal_jax import models
from seal_jax.data.problems import Problem
from seal_jax.transformer2.attempts import Attempt, attempt
from seal_jax.transformer2.classify import OTHERS, Classifier, classify
from seal_jax.transformer2.expert_bank import ExpertBank
from seal_jax.transformer2.experts import Expert
from seal_jax.transformer2.scores import summary
from seal_jax.transformer2.serve import check_labels
from seal_jax.transformer2.tasks import Task


class Dispatched(NamedTuple):
    """What came of the problems of some tasks, by the name of the task.

    labels: of each problem; replies: the attempts they were read from; attempts: the answers of pass 2, graded;
    first, second: seconds of the passes, compilation included.
    """

    labels: dict[str, list[str]]
    replies: dict[str, list[Attempt]]
    attempts: dict[str, list[Attempt]]
    first: float
    second: float


def dispatch(
    model: models.Model,
    bank: ExpertBank,
    tasks: Sequence[Task],
    classifier: Classifier,
    *,
    problems: Mapping[str, Sequence[Problem]] | None = None,
    expert: Expert | None = None,
    factors: Any = None,
    rows: int = 64,
) -> Dispatched:
    """Answer problems of several tasks, each with the expert that pass 1 sorts it to; greedy in both passes.

    tasks: of different names; the task of a problem grades it and is not known to pass 1. problems: by the name of the
    task, by default its test split. expert: who sorts in place of the base model ("classifier" instead of "prompt"),
    of a task of `classification_task`; factors: of its kernels, by default the bank's. A problem of the label `others`
    is answered by the base model, bit for bit. Run it twice where seconds matter: the first call compiles.

    Raises ValueError for labels that are no experts, equal names of tasks, and problems of none of them.
    """
    check_labels(classifier, bank)
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ValueError(f"tasks are named {', '.join(names)}: give each a name of its own")
    if problems is not None and set(problems) != set(names):
        raise ValueError(f"problems are of the tasks {', '.join(problems)}, and the tasks are {', '.join(names)}")
    asked = {task.name: list(task.test if problems is None else problems[task.name]) for task in tasks}
    model = model._replace(params=models.unroll(model.params))
    began = time.perf_counter()
    flat = [problem for name in names for problem in asked[name]]
    found = classify(model, classifier, flat, expert=expert, factors=factors or bank.factors, rows=rows)
    labels, replies = _by_task(found.labels, asked), _by_task(found.attempts, asked)
    sorted_at = time.perf_counter()
    attempts = {}
    for task in tasks:
        which = [None if label == OTHERS else label for label in labels[task.name]]
        attempts[task.name] = answer(model, bank, task, asked[task.name], which, rows=rows)
    return Dispatched(labels, replies, attempts, sorted_at - began, time.perf_counter() - sorted_at)


def answer(
    model: models.Model,
    bank: ExpertBank,
    task: Task,
    problems: Sequence[Problem],
    which: Sequence[str | None],
    *,
    rows: int = 64,
) -> list[Attempt]:
    """Pass 2 on problems of one task: the greedy attempt at each under the expert named for it, None for the base."""
    how: dict[str, Any] = {"adapters": bank.adapters, "adapter_ids": bank.ids(which)}
    # For SVF one program for any labels costs a vector per row; for LoRA it would be a copy of the factors.
    how |= {"factors": bank.factors, "compose": bank.compose, "one_program": bank.factors is not None}
    found = attempt(model, task, problems, rows=rows, **how)
    return [each[0] for each in found]


def _by_task(values: Sequence[Any], asked: Mapping[str, Sequence[Problem]]) -> dict[str, list[Any]]:
    found = iter(values)
    return {name: [next(found) for _ in own] for name, own in asked.items()}


def report(found: Dispatched) -> dict[str, Any]:
    """What dispatch did, as plain data.

    `labels`: how many problems came under each; `confusion`: the same by task, a row each; `accuracy`: by task,
    `scores.summary`, and over all problems under "weighted", where each problem counts alike;
    `seconds`: `{"first", "second", "first_share"}`. An accuracy of nothing graded is None, as JSON has it.
    """
    names = sorted({label for own in found.labels.values() for label in own})
    confusion = {task: {n: Counter(own)[n] for n in names} for task, own in found.labels.items()}
    scores = {task: _score(own) for task, own in found.attempts.items()}
    every = [a for own in found.attempts.values() for a in own]
    return {
        "labels": {n: sum(row[n] for row in confusion.values()) for n in names},
        "confusion": confusion,
        "accuracy": {**scores, "weighted": _score(every)},
        "seconds": {
            "first": found.first,
            "second": found.second,
            "first_share": found.first / max(found.first + found.second, 1e-9),
        },
    }


def _score(attempts: Sequence[Attempt]) -> dict[str, float | int | None]:
    found = summary([a.correct for a in attempts])
    return {name: x if math.isfinite(x) else None for name, x in found.items()}
