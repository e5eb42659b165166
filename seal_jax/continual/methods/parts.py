"""How one method goes on where another ends."""

from __future__ import annotations

from typing import Any

import jax

from seal_jax.continual.method import Method, Problem, Rows, Scene, State


def memory_of(method: Method, params: Any, row: Any) -> dict[str, Any]:
    """What a method keeps before the first task; nothing for one without memory."""
    return {} if method.memory is None else method.memory(params, row)


def batch_of(method: Method, memory: dict[str, Any], batch: Rows, key: jax.Array) -> Rows:
    """The batch that a method makes of the new rows."""
    return batch if method.batch is None else method.batch(memory, batch, key)


def loss_of(
    method: Method, problem: Problem, params: Any, batch: Rows, memory: dict[str, Any], key: jax.Array
) -> jax.Array:
    """The loss that a method trains on: float32 `[]`."""
    return problem(params, batch, key) if method.loss is None else method.loss(problem, params, batch, memory, key)


def extras_of(method: Method, problem: Problem, params: Any, memory: dict[str, Any], key: jax.Array) -> dict[str, Any]:
    """The extra arguments that a method gives to its optimizer."""
    return {} if method.extras is None else method.extras(problem, params, memory, key)


def begun_by(method: Method, state: State, scene: Scene) -> State:
    """The state at a task's beginning."""
    return state if method.begin_task is None else method.begin_task(state, scene)


def ended_by(method: Method, state: State, scene: Scene) -> State:
    """The state at a task's end."""
    return state if method.end_task is None else method.end_task(state, scene)


def checked_by(method: Method, state: State, tasks: int) -> None:
    """Raise what a method finds wrong with its first state for a stream of so many tasks."""
    if method.check is not None:
        method.check(state, tasks)


def remembered(state: State, name: str, value: Any) -> State:
    """The state with `memory[name]` replaced."""
    return state._replace(memory={**state.memory, name: value})
