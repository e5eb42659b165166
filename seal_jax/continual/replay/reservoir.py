"""Reservoir sampling: after any number of items each of them is in the memory with equal probability."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.continual.replay.memory import Memory, Scalar, draws, empty, offered, write


class Reservoir(NamedTuple):
    """A uniform sample of everything that was offered, of `size` items at most.

    Item i, counted from 0, takes slot i while there is room, and after that a slot drawn from 0..i, if there is one of
    that number. The draw is a function of the memory's seed and of i.
    """

    size: int

    def init(self, example: Any, seed: Scalar = 0, capacity: Scalar | None = None) -> Memory:
        """An empty memory for items like `example` (arrays or shapes without a leading axis)."""
        return empty(example, self.size, (), seed, capacity)

    def add(self, memory: Memory, items: Any, task: Scalar = 0, valid: jax.Array | None = None) -> Memory:
        """The memory after items `[n, ...]` were offered in order; those not `valid`, bool `[n]`, were not."""
        tasks, counts = offered(items, task, valid)
        numbers = memory.seen + jnp.cumsum(counts, dtype=jnp.int32) - 1
        drawn = jax.vmap(lambda key, i: jax.random.randint(key, (), 0, i + 1))(draws(memory, numbers), numbers)
        slots = jnp.where(numbers < memory.capacity, numbers, drawn)
        slots = jnp.where(counts & (slots < memory.capacity), slots, self.size)
        memory = write(memory, items, tasks, slots)
        return memory._replace(seen=memory.seen + counts.sum(dtype=jnp.int32))
