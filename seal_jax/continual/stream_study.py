"""A stream of texts learned by one strategy inside of a run directory: matrix, figures, intervals, adapter."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from seal_jax import adapters, models
from seal_jax.continual import metrics
from seal_jax.continual.run import run as learn
from seal_jax.continual.strategies import Strategy, prepare
from seal_jax.continual.task_stream import Settings, Task, task_steps
from seal_jax.continual.text_tasks import Asked, example_scores, joined
from seal_jax.models import Model
from seal_jax.runtime import Run
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.runtime.distributed import host
from seal_jax.runtime.items import Items
from seal_jax.runtime.logging import progress


def study(
    run: Run, model: Model, tasks: Sequence[Task], plan: Strategy, settings: Settings, scoring: dict[str, Any]
) -> dict[str, Any]:
    """Learn the tasks (of `text_tasks.tokenized`) with a strategy; goes on where a killed run stopped.

    scoring: `how`, `rows`, `max_new_tokens` of `text_tasks.example_scores`. Writes the adapter to `run.dir/adapter` in
    the PEFT layout. The result: "matrix" `[T][T]`, "baseline" `[T]`, "metrics" and "intervals" of `continual.metrics`,
    "by_task", "curve", "tasks", "strategy", "steps", "seconds"; of "joint" in place of the matrix "joint" `[T]`.
    """
    joint = plan.strategy == "joint"
    stream = [joined(tasks)] if joint else list(tasks)
    prepared = prepare(plan, model, stream, settings)
    outcomes = run.items("outcomes")
    evaluate = _Evaluate(model, prepared.finished, scoring, outcomes)
    steps = sum(task_steps(stream, settings))
    with progress("steps", steps) as advance:
        found = learn(
            prepared.problem,
            prepared.method,
            prepared.start,
            stream,
            evaluate,
            settings,
            checkpoints=Checkpointer(run.checkpoints / "stream", keep=1),
            label=dataclasses.replace(plan, remat=False),  # which changes no number
            on_progress=advance,
        )
    adapter = prepared.finished(found.state.params)
    models.save_peft(run.dir / "adapter", adapter, model.config)
    shared = {"tasks": [t.name for t in tasks], "strategy": plan.strategy, "steps": steps, "seconds": found.seconds}
    if joint:
        scores = [float(np.mean(x)) for x in evaluate.of(found.state.params, stream[0])]
        return {**shared, "joint": scores, "metrics": {"op": float(np.mean(scores))}}
    return {**shared, **_figures(found, stream, evaluate.in_order(stream))}


class _Evaluate:
    """The score of a task, and what its examples scored, kept by the adapter that was asked: nothing is asked twice."""

    def __init__(self, model: Model, finished: Callable[[Any], Any], scoring: dict[str, Any], kept: Items) -> None:
        self._model, self._finished, self._scoring, self._kept = model, finished, scoring, kept

    def __call__(self, params: Any, task: Task) -> float:
        return float(np.mean([np.mean(x) for x in self.of(params, task)]))

    def of(self, params: Any, task: Task) -> list[list[float]]:
        """What each example scored, a list for each of the task's test sets."""
        adapter = self._finished(params)
        held = host(adapter)
        if not all(np.isfinite(x).all() for x in jax.tree.leaves(held)):
            raise ValueError(
                f"the adapter holds NaN or infinity where {task.name!r} is scored: the training has diverged, use a "
                "lower learning rate"
            )
        id = f"{_digest(held)}/{task.name}"
        if id in self._kept:
            return self._kept[id]
        attached = adapters.attach(self._model.params, adapter)
        tests: list[Asked] = task.test if isinstance(task.test, list) else [task.test]
        config, tokenizer = self._model.config, self._model.tokenizer
        scores = [example_scores(attached, config, tokenizer, asked, **self._scoring) for asked in tests]
        return self._kept.add(id, [x.tolist() for x in scores])

    def in_order(self, stream: Sequence[Task]) -> list[np.ndarray] | None:
        """For each task `[T + 1, examples]`, before the first and after each; None if some adapters were the same."""
        stages = list(dict.fromkeys(id.split("/")[0] for id in self._kept))
        if len(stages) != len(stream) + 1:
            return None
        return [np.array([self._kept[f"{stage}/{task.name}"][0] for stage in stages]) for task in stream]


def _figures(found: Any, stream: Sequence[Task], outcomes: list[np.ndarray] | None) -> dict[str, Any]:
    matrix, baseline = found.matrix, found.baseline
    figures = metrics.from_matrix(matrix, baseline)
    if outcomes is None:
        intervals = {name: metrics.Interval(value, np.nan, np.nan) for name, value in figures.items()}
    else:
        intervals = metrics.bootstrap([x[1:] for x in outcomes], baseline=[x[0] for x in outcomes])
    return {
        "matrix": matrix.tolist(),
        "baseline": baseline.tolist(),
        "metrics": figures,
        "intervals": {name: list(interval) for name, interval in intervals.items()},
        "by_task": metrics.by_task(matrix, baseline),
        "curve": metrics.curve(matrix).tolist(),
        "losses": {task.name: _ends(losses) for task, losses in zip(stream, found.losses, strict=True)},
    }


def _ends(losses: np.ndarray) -> dict[str, float]:
    """The mean training loss of the first and of the last tenth of a task's steps."""
    known = losses[np.isfinite(losses)]
    tenth = max(len(known) // 10, 1)
    return {"first": float(known[:tenth].mean()), "last": float(known[-tenth:].mean())} if len(known) else {}


def _digest(adapter: Any) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(adapter):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]
