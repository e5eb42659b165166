"""A memory that is shared evenly by the tasks seen so far."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.continual.replay.memory import Memory, Scalar, draws, empty, offered


class Balanced(NamedTuple):
    """Of each task seen so far (or class, if that is what `task` tells) a uniform sample, all of about the same size.

    With t tasks each has `size / t` slots or all of its items if these are fewer, which leaves more to the others; the
    shares shrink when a task arrives. Each item draws a priority in [0, 1) by its number, and the highest of a task
    stay. `add` copies the memory, so offer many items at once rather than few in each step.
    """

    size: int

    def init(self, example: Any, seed: Scalar = 0, capacity: Scalar | None = None) -> Memory:
        """An empty memory for items like `example` (arrays or shapes without a leading axis)."""
        return empty(example, self.size, (), seed, capacity)

    def add(self, memory: Memory, items: Any, task: Scalar = 0, valid: jax.Array | None = None) -> Memory:
        """The memory after items `[n, ...]` were offered; those not `valid`, bool `[n]`, were not."""
        tasks, counts = offered(items, task, valid)
        numbers = memory.seen + jnp.cumsum(counts, dtype=jnp.int32) - 1
        priorities = jax.vmap(jax.random.uniform)(draws(memory, numbers))
        tasks = jnp.concatenate([memory.task, jnp.where(counts, tasks, -1)])
        priorities = jnp.concatenate([memory.priority, priorities])
        rank = _rank_in_task(tasks, priorities)
        # Filling up in the order of rank gives each task its share and what others leave of theirs.
        kept = jnp.lexsort((tasks, jnp.where(tasks < 0, len(rank), rank)))[: self.size]
        stays = jnp.arange(self.size) < memory.capacity
        joined = lambda old, new: jnp.concatenate([old, new.astype(old.dtype)])[kept]  # noqa: E731
        return memory._replace(
            items=jax.tree.map(joined, memory.items, items),
            task=jnp.where(stays, tasks[kept], -1),
            priority=priorities[kept],
            seen=memory.seen + counts.sum(dtype=jnp.int32),
        )


def _rank_in_task(tasks: jax.Array, priorities: jax.Array) -> jax.Array:
    """How many items of the same task have a higher priority: int32 `[n]`."""
    order = jnp.lexsort((-priorities, tasks))
    ordered = tasks[order]
    first = jnp.searchsorted(ordered, ordered)
    rank = jnp.arange(len(tasks), dtype=jnp.int32) - first.astype(jnp.int32)
    return jnp.zeros_like(rank).at[order].set(rank)
