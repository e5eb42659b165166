"""RecAdam over the length of each task: what is recalled first and learned then, in tasks of any number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from seal_jax.continual.method import Method, Problem, Scene, State
from seal_jax.continual.methods.parts import begun_by, extras_of, memory_of, remembered
from seal_jax.continual.regularizers.anchor import LearningRate
from seal_jax.continual.regularizers.rec_adam import rec_adam

NAME = "task_steps"
RECALLED = 10.0  # k * t0: at a task's first step 1 / (1 + e^10) of the gradient counts, half of it at t0


def annealed(gamma: Any, learning_rate: LearningRate, share: float) -> optax.GradientTransformationExtraArgs:
    """`rec_adam` whose t0 is a share of the steps of the task it is in, and k = 10 / t0; for `annealing`.

    With 1,000 steps and a share of 0.25 that is t0 = 250 and k = 0.04. share: above 0 and 0.5 at most, so that at
    the end of a task all but e^-10 of the gradient counts. gamma, learning_rate: of `rec_adam`. Raises ValueError for
    another share.
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"share={share}: t0 is a share of a task's steps above 0, and 0.5 at most")

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        if NAME not in extra:
            raise ValueError(f"annealed needs the task's steps: use methods.annealing, or update(..., {NAME}=)")
        t0 = share * jnp.asarray(extra.pop(NAME)).astype(jnp.float32)
        inner = rec_adam(gamma, learning_rate, k=RECALLED / t0, t0=t0)
        return inner.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(rec_adam(gamma, learning_rate).init, update)


def annealing(method: Method, steps: Sequence[int]) -> Method:
    """`method`, whose `tx` has `annealed` in it, told the steps of each task, of `task_stream.task_steps`."""
    every = tuple(steps)

    def memory(params: Any, row: Any) -> dict[str, Any]:
        return {**memory_of(method, params, row), NAME: jnp.int32(every[0])}

    def begin_task(state: State, scene: Scene) -> State:
        return begun_by(method, remembered(state, NAME, jnp.asarray(every, jnp.int32)[scene.task]), scene)

    def extras(problem: Problem, params: Any, memory: dict[str, Any], key: jax.Array) -> dict[str, Any]:
        return {**extras_of(method, problem, params, memory, key), NAME: memory[NAME]}

    return method._replace(memory=memory, begin_task=begin_task, extras=extras)
