"""Replay: every batch of new rows is followed by rows of earlier tasks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seal_jax.continual import replay
from seal_jax.continual.method import Method, Rows, Scene, State, row_weights
from seal_jax.continual.methods.parts import batch_of, ended_by, memory_of, remembered

NAME = "replay"


def rehearsing(method: Method, policy: replay.Policy, rows: int, capacity: Any = None, seed: Any = 0) -> Method:
    """`method` with `rows` replayed rows appended to each batch; batches have one size, an epoch the new task's.

    policy: which rows a memory keeps, `replay.Reservoir(size)` or another; a task's rows are offered once, when it
    ends, so that what is replayed is of earlier tasks. capacity: of the memory, an array where lanes differ in it.
    seed: of the memory's draws. Until the first task has ended the appended rows count 0.
    """

    def memory(params: Any, row: Any) -> dict[str, Any]:
        return {**memory_of(method, params, row), NAME: policy.init(dict(row), seed, capacity)}

    def batch(memory: dict[str, Any], new: Rows, key: jax.Array) -> Rows:
        own, drawn = jax.random.split(key)
        new = batch_of(method, memory, new, own)
        weights = row_weights(new)
        plain = {name: x for name, x in new.items() if name != "rows"}
        joined, counts = replay.append(plain, replay.sample(memory[NAME], drawn, rows))
        return {**joined, "rows": counts.at[: len(weights)].multiply(weights)}

    def end_task(state: State, scene: Scene) -> State:
        kept = offered(policy, state.memory[NAME], scene, dict(scene.rows))
        return ended_by(method, remembered(state, NAME, kept), scene)

    return method._replace(memory=memory, batch=batch, end_task=end_task)


def offered(policy: replay.Policy, memory: replay.Memory, scene: Scene, items: Any) -> replay.Memory:
    """The memory after the rows of a task were offered, in an order of their own."""
    count = len(jax.tree.leaves(items)[0])
    order = jax.random.permutation(jax.random.fold_in(scene.key, 1), count)
    shuffled = jax.tree.map(lambda x: x[order], items)
    return policy.add(memory, shuffled, scene.task, jnp.arange(count)[order] < scene.count)
