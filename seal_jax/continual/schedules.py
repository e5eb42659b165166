"""Learning rates over a stream of tasks, as optax schedules of the optimizer's step count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

Tasks: TypeAlias = int | Sequence[int]
"""The steps of every task, or for each task the count at which it begins: 0, and then ever later."""


def task_of(count: Any, tasks: Tasks) -> tuple[jax.Array, jax.Array]:
    """The index of the task that step `count` belongs to, and the step within it: int32 like `count`.

    Raises ValueError for tasks of less than a step, or starts that do not begin with 0 or do not ascend.
    """
    count = jnp.asarray(count).astype(jnp.int32)
    if isinstance(tasks, int | np.integer):
        if tasks < 1:
            raise ValueError(f"a task has {tasks} steps; it needs one or more")
        return count // tasks, count % tasks
    starts = np.asarray(tasks, np.int32)
    if starts.ndim != 1 or not len(starts) or starts[0] != 0 or np.any(np.diff(starts) < 1):
        raise ValueError(f"tasks must begin at ascending counts, the first at 0, got {list(tasks)}")
    index = jnp.searchsorted(jnp.asarray(starts), count, side="right").astype(jnp.int32) - 1
    return index, count - jnp.asarray(starts)[index]


def lr_adjust(learning_rate: Any, gamma: Any, lr_min: Any, tasks: Tasks) -> optax.Schedule:
    """LR ADJUST: each task has max(lr_min, gamma * the rate of the one before), the first `learning_rate`.

    Settings are numbers or arrays `[]`. Raises ValueError for gamma outside (0, 1], lr_min below 0 or over the rate.
    """
    if _known(learning_rate, gamma, lr_min) and not (0 < gamma <= 1 and 0 <= lr_min <= learning_rate):
        raise ValueError(f"lr_adjust needs 0 < gamma <= 1 and 0 <= lr_min <= {learning_rate=}, got {gamma=}, {lr_min=}")

    def schedule(count: Any) -> jax.Array:
        index, _ = task_of(count, tasks)
        return jnp.maximum(learning_rate * jnp.asarray(gamma, jnp.float32) ** index.astype(jnp.float32), lr_min)

    return schedule


def rewarm(peak: Any, warmup: int, steps: int, decay_to: Any = 0.0, tasks: Tasks | None = None) -> optax.Schedule:
    """Re-warm and re-decay: in every task a line from `decay_to` up to `peak`, then half a cosine down to `decay_to`.

    peak, decay_to: rates, numbers or arrays `[]`. warmup, steps: of a task, of which the first is at `decay_to`, step
    `warmup` at `peak` and those from `steps` on at `decay_to`. tasks: where they begin (default: every `steps`).
    Raises ValueError unless 0 <= warmup < steps and 0 <= decay_to <= peak.
    """
    if not 0 <= warmup < steps or (_known(peak, decay_to) and not 0 <= decay_to <= peak):
        found = f"{warmup=}, {steps=}, {decay_to=}, {peak=}"
        raise ValueError(f"rewarm needs 0 <= warmup < steps and 0 <= decay_to <= peak, got {found}")

    def schedule(count: Any) -> jax.Array:
        step = task_of(count, steps if tasks is None else tasks)[1].astype(jnp.float32)
        down = jnp.clip((step - warmup) / (steps - warmup), 0.0, 1.0)
        share = jnp.where(step < warmup, step / max(warmup, 1), 0.5 * (1.0 + jnp.cos(jnp.pi * down)))
        return decay_to + (peak - decay_to) * share

    return schedule


def _known(*values: Any) -> bool:
    return not any(isinstance(value, Tracer) for value in values)
