"""A ring of the latest items of each task."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.continual.replay.memory import Memory, Scalar, empty, offered, write


class Ring(NamedTuple):
    """For each of `tasks` tasks (or classes) the latest `size // tasks` items, first in first out."""

    size: int
    tasks: int

    def init(self, example: Any, seed: Scalar = 0, capacity: Scalar | None = None) -> Memory:
        """An empty memory for items like `example`; ValueError where there is no slot for each task."""
        if self.tasks < 1 or self.size < self.tasks:
            raise ValueError(f"a ring of {self.size} slots for {self.tasks} tasks: it takes one slot a task or more")
        return empty(example, self.size, (self.tasks,), seed, capacity)

    def add(self, memory: Memory, items: Any, task: Scalar = 0, valid: jax.Array | None = None) -> Memory:
        """The memory after items `[n, ...]` of tasks 0..tasks-1 were offered in order; other tasks are not kept."""
        tasks, counts = offered(items, task, valid)
        own = (tasks[:, None] == jnp.arange(self.tasks)[None, :]) & counts[:, None]
        place = jnp.cumsum(own, 0, dtype=jnp.int32) - 1 + memory.seen[None, :]
        share = jnp.maximum(memory.capacity // self.tasks, 1)
        slots = tasks * share + jnp.where(own, place, 0).sum(1) % share
        memory = write(memory, items, tasks, jnp.where(own.any(1), slots, self.size))
        return memory._replace(seen=memory.seen + own.sum(0, dtype=jnp.int32))
