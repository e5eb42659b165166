"""One expert, trained by reward or on solutions, chosen on the validation split and tested once; resumable."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax import models
from seal_jax.data.problems import Problem
from seal_jax.runtime import Run
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.runtime.distributed import host
from seal_jax.runtime.mesh import mesh_of
from seal_jax.runtime.placement import shard_params
from seal_jax.transformer2 import reinforce, scores, supervised
from seal_jax.transformer2.attempts import Attempt, attempt
from seal_jax.transformer2.tasks import Task
from seal_jax.transformer2.update import TrainState, begin, layered, summary

Settings = reinforce.Settings | supervised.Settings
Step = Callable[[TrainState, int], tuple[TrainState, dict[str, Any]]]
Record = dict[str, Any]
"""What a checkpoint tells beside arrays: iteration (of the last evaluation), history, validations, best, stopped."""


class Trained(NamedTuple):
    """What training an expert gave.

    adapter: the best on the validation split, the earliest of equals. history: a row per update, what `reinforce.step`
    or `supervised.step` measured with the adapter's `update.summary`. validations: a row per evaluation: iteration
    (updates before it), accuracy, stderr (None of one problem); best: the adapter's. stopped: "iterations", "patience",
    or "diverged", if a number was no longer finite. test, test_stderr: the adapter's accuracy on the test split, NaN
    if that is empty; verdicts: one per test problem, in order, None where ungraded.
    """

    adapter: Any
    history: list[dict[str, Any]]
    validations: list[dict[str, Any]]
    best: dict[str, Any]
    stopped: str
    test: float
    test_stderr: float
    verdicts: list[bool | None]


def train_expert(
    run: Run,
    model: models.Model,
    adapter: Any,
    factors: Any,
    task: Task,
    settings: Settings,
    *,
    name: str | None = None,
    seed: int = 0,
    reward: reinforce.Reward | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Trained:
    """Train `adapter` on the task with `reinforce.Settings` or `supervised.Settings`, as stages of `run`.

    adapter: SVF with its `factors`, or LoRA with None. The state is kept at every evaluation, and a run that was killed
    goes on from the newest to the same numbers. name: of the stages NAME/trained and NAME/test (default: the task's).
    reward: takes the place of right and wrong. on_progress: called with the updates done since the last call. Rows go
    to metrics.jsonl. For a large model pass unrolled parameters and `update.layered` factors: otherwise they are
    unrolled here, beside those of the caller.

    Raises ValueError for a task without training or validation problems.
    """
    for split in ("train", "validation"):
        if not getattr(task, split):
            raise ValueError(f"task {task.name!r} has no {split} problems; an expert needs both splits")
    name = task.name if name is None else name
    model = model._replace(params=models.unroll(model.params))
    factors = layered(factors, model.config)
    fit = _Fit(run, model, factors, task, settings, name, _step(model, factors, task, settings, seed, reward))
    found = run.stage(f"{name}/trained", lambda: fit.trained(adapter, on_progress), kind="tree")
    run.drop_checkpoints(name)
    best, record = _placed(model, found["adapter"]), json.loads(found["record"])
    verdicts = run.stage(f"{name}/test", lambda: [one.correct for one in fit.answers(best, task.test)])
    test = scores.summary(verdicts)
    told = {name: record[name] for name in ("history", "validations", "best", "stopped")}
    return Trained(best, **told, test=test["accuracy"], test_stderr=test["stderr"], verdicts=verdicts)


class _Fit(NamedTuple):
    """The training of one expert and where it is kept."""

    run: Run
    model: models.Model
    factors: Any
    task: Task
    settings: Settings
    name: str
    step: Step

    def trained(self, adapter: Any, on_progress: Callable[[int], None] | None) -> dict[str, Any]:
        """The best adapter, and the record of how it came about as JSON text."""
        start = begin(_placed(self.model, adapter), self.settings.program(self.model.config))
        record: Record = {"iteration": -1, "history": [], "validations": [], "best": None, "stopped": ""}
        kept = {"state": start, "best": host(start.adapter), "record": json.dumps(record)}
        checkpoints = Checkpointer(self.run.checkpoints / self.name)
        _, kept = checkpoints.restore_latest(kept) or (0, kept)
        state, best, record = kept["state"], kept["best"], json.loads(kept["record"])
        if on_progress:
            on_progress(len(record["history"]))
        for iteration in range(len(record["history"]), self.settings.iterations + 1):
            if self._due(iteration, record):
                best = self._validate(state.adapter, best, record, iteration)
                checkpoints.save(iteration, {"state": state, "best": best, "record": json.dumps(record)})
            if record["stopped"]:
                break
            state = self._update(state, record, iteration)
            if on_progress:
                on_progress(1)
        return {"adapter": best, "record": json.dumps(record)}

    def _due(self, iteration: int, record: Record) -> bool:
        every = iteration % self.settings.eval_every == 0 or iteration == self.settings.iterations
        return every and iteration > record["iteration"] and not record["stopped"]

    def _validate(self, adapter: Any, best: Any, record: Record, iteration: int) -> Any:
        """The best adapter, after this one has been evaluated; the record then says how it did, and whether to stop."""
        problems = self.task.validation[: self.settings.validate_on]
        found = scores.summary([one.correct for one in self.answers(adapter, problems)])
        mean, error = found["accuracy"], found["stderr"]
        if math.isnan(mean):
            raise ValueError(f"task {self.task.name!r}: none of its {len(problems)} validation answers was graded")
        row = {"iteration": iteration, "accuracy": mean, "stderr": error if math.isfinite(error) else None}
        self.run.log({"stage": self.name, "split": "validation", **row}, id=f"{self.name}/validation/{iteration}")
        record["validations"].append(row)
        record["iteration"] = iteration
        if record["best"] is None or mean > record["best"]["accuracy"]:
            record["best"], best = row, host(adapter)
        since = sum(r["iteration"] > record["best"]["iteration"] for r in record["validations"])
        if self.settings.patience and since >= self.settings.patience:
            record["stopped"] = "patience"
        elif iteration == self.settings.iterations:
            record["stopped"] = "iterations"
        return best

    def _update(self, state: TrainState, record: Record, iteration: int) -> TrainState:
        state, measured = self.step(state, iteration)
        row = {"iteration": iteration, **measured, **summary(state.adapter)}
        if not all(math.isfinite(x) for x in row.values() if isinstance(x, float)):
            record["stopped"] = "diverged"
            row = {key: x for key, x in row.items() if not isinstance(x, float) or math.isfinite(x)}
        self.run.log({"stage": self.name, "split": "train", **row}, id=f"{self.name}/update/{iteration}")
        record["history"].append(row)
        return state

    def answers(self, adapter: Any, problems: Sequence[Problem]) -> list[Attempt]:
        """Greedy answers of the adapted model."""
        program = self.settings.program(self.model.config)
        policy = self.model._replace(params=program.attach_fn(self.model.params, adapter, self.factors))
        return [one for [one] in attempt(policy, self.task, problems, rows=self.settings.rows)]


def _step(
    model: models.Model, factors: Any, task: Task, settings: Settings, seed: int, reward: reinforce.Reward | None
) -> Step:
    """What an update is under these settings."""
    if isinstance(settings, reinforce.Settings):
        return lambda state, i: reinforce.step(model, state, factors, task, settings, i, seed, reward)
    if reward is not None:
        raise ValueError("reward= is for learning from reward; supervised settings learn from solutions")
    return lambda state, i: supervised.step(model, state, factors, task, settings, i, seed)


def _placed(model: models.Model, adapter: Any) -> Any:
    """An adapter as JAX arrays, split over the mesh that the model lives on."""
    mesh = mesh_of(model.params)
    return jax.tree.map(jnp.asarray, adapter) if mesh is None else shard_params(adapter, mesh, model.config)
