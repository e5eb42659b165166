"""A-GEM and GEM: the optimizer sees gradients on remembered examples beside that of the task."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seal_jax.continual import replay
from seal_jax.continual.method import Method, Problem, Rows, Scene, State, gradient
from seal_jax.continual.methods.parts import ended_by, extras_of, memory_of, remembered
from seal_jax.continual.methods.rehearsing import offered

NAME = "remembered"


def remembering(method: Method, policy: replay.Policy, rows: int, tasks: int | None = None, seed: Any = 0) -> Method:
    """`method`, whose `tx` has `agem` or `gem` in it, with gradients on `rows` remembered rows, drawn anew each step.

    policy: which rows are kept, as in `rehearsing`. tasks: None for `agem`, one gradient on rows of all earlier tasks;
    for `gem(tasks)` a gradient for each of so many tasks, computed one after the other.
    """

    def memory(params: Any, row: Any) -> dict[str, Any]:
        return {**memory_of(method, params, row), NAME: policy.init(dict(row), seed)}

    def extras(problem: Problem, params: Any, memory: dict[str, Any], key: jax.Array) -> dict[str, Any]:
        own, draw, inside = jax.random.split(key, 3)
        given = extras_of(method, problem, params, memory, own)

        def against(task: Any) -> tuple[Any, jax.Array]:
            at = draw if task is None else jax.random.fold_in(draw, task)
            drawn = replay.sample(memory[NAME], at, rows, task)
            batch: Rows = {**drawn.items, "rows": drawn.valid.astype(jnp.float32)}
            found = gradient(problem, params, batch, inside)
            there = drawn.valid.any()
            return jax.tree.map(lambda g: jnp.where(there, g, 0), found), there

        if tasks is None:
            return {**given, "memory_grad": against(None)[0]}
        grads, filled = jax.lax.map(against, jnp.arange(tasks, dtype=jnp.int32))
        return {**given, "memory_grads": grads, "filled": filled}

    def end_task(state: State, scene: Scene) -> State:
        kept = offered(policy, state.memory[NAME], scene, dict(scene.rows))
        return ended_by(method, remembered(state, NAME, kept), scene)

    return method._replace(memory=memory, extras=extras, end_task=end_task)
