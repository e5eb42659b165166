"""A memory of host objects: token lists, strings, records, of any length each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.continual.replay.memory import Memory, Policy, sample


class Examples(NamedTuple):
    """What a policy keeps of examples that are no arrays of one shape.

    The decisions are those of the arrays' form, bit for bit, made with the examples' numbers in place of the examples.
    kept: the example in each slot, None in an empty one; memory: its state, with an item's slot as the item.
    """

    policy: Policy
    memory: Memory
    kept: tuple[Any, ...]

    @classmethod
    def start(cls, policy: Policy, seed: int = 0) -> Examples:
        """An empty memory."""
        memory = policy.init(jax.ShapeDtypeStruct((), jnp.int32), seed)
        return cls(policy, memory, (None,) * len(memory.task))

    def add(self, examples: Sequence[Any], task: int = 0) -> Examples:
        """The memory after the examples of one task were offered in order."""
        if not examples:
            return self
        size = len(self.kept)
        memory = self.memory._replace(items=jnp.arange(size, dtype=jnp.int32))
        memory = self.policy.add(memory, jnp.arange(size, size + len(examples), dtype=jnp.int32), task)
        both = (*self.kept, *examples)
        slots = zip(np.asarray(memory.items).tolist(), np.asarray(memory.task).tolist(), strict=True)
        return self._replace(memory=memory, kept=tuple(both[i] if t >= 0 else None for i, t in slots))

    def draw(self, count: int, key: jax.Array, task: int | None = None) -> list[Any]:
        """`count` kept examples as `sample` draws them, of one task if that is given; none if there is none."""
        memory = self.memory._replace(items=jnp.arange(len(self.kept), dtype=jnp.int32))
        drawn = sample(memory, key, count, task)
        return [self.kept[slot] for slot in np.asarray(drawn.items)[np.asarray(drawn.valid)].tolist()]
