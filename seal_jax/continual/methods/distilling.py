"""Learning without forgetting: predictions on the new task's inputs stay close to those before the task."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seal_jax.continual.losses import divergence
from seal_jax.continual.method import Method, Problem, Rows, Scene, State, row_weights
from seal_jax.continual.methods.parts import begun_by, loss_of, memory_of, remembered
from seal_jax.training.trainable import join, trainable

NAME = "teacher"


def distilling(method: Method, alpha: Any = 1.0, temperature: Any = 2.0) -> Method:
    """`method` with `alpha * T^2 * KL(before || now)` added to its loss from the second task on, mean over rows.

    The teacher is a copy of what is trained (of an adapter, the adapter) as the task found it. It needs the problem's
    logits. alpha, temperature: numbers or arrays. For language models, see `language`: logits are made in chunks there.
    """

    def memory(params: Any, row: Any) -> dict[str, Any]:
        copied = jax.tree.map(jnp.copy, trainable(params))
        return {**memory_of(method, params, row), NAME: {"params": copied, "taught": jnp.zeros((), jnp.float32)}}

    def begin_task(state: State, scene: Scene) -> State:
        taught = (scene.task > 0).astype(jnp.float32)
        teacher = {"params": jax.tree.map(jnp.copy, trainable(state.params)), "taught": taught}
        return begun_by(method, remembered(state, NAME, teacher), scene)

    def loss(problem: Problem, params: Any, batch: Rows, memory: dict[str, Any], key: jax.Array) -> jax.Array:
        before = problem.predicted(join(memory[NAME]["params"], params), batch)
        apart = divergence(before, problem.predicted(params, batch), temperature)
        weights = row_weights(batch)
        apart = apart.reshape(len(weights), -1).mean(axis=-1)
        mean = (weights * apart).sum() / jnp.maximum(weights.sum(), 1.0)
        return loss_of(method, problem, params, batch, memory, key) + alpha * memory[NAME]["taught"] * mean

    return method._replace(memory=memory, begin_task=begin_task, loss=loss)
