"""A few of many slots, computed together: what only they need costs only them."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

T = TypeVar("T")


class Group(NamedTuple):
    """W of B slots. slots: int32 `[W]`; there: bool `[W]`, those that are meant; all: they are all slots, in order."""

    slots: jax.Array
    there: jax.Array
    all: bool

    def take(self, arrays: T) -> T:
        """The group's rows of arrays `[B, ...]`: `[W, ...]`."""
        return arrays if self.all else jax.tree.map(lambda x: x[self.slots], arrays)

    def put(self, into: T, rows: T) -> T:
        """Arrays `[B, ...]` with the rows `[W, ...]` of those slots that are meant."""
        outside = jnp.iinfo(jnp.int32).max
        at = jnp.where(self.there, self.slots, outside)
        return jax.tree.map(lambda x, y: x.at[at].set(y, mode="drop"), into, rows)


def usual_size(slots: int) -> int:
    """How many of so many slots share a pass: few on a CPU, whose passes cost by their rows, else all."""
    return -(-slots // 8) if jax.default_backend() == "cpu" else slots


def first_of(mask: jax.Array, size: int) -> Group:
    """The first `size` slots for which the mask bool `[B]` holds."""
    if size >= len(mask):
        return Group(jnp.arange(len(mask), dtype=jnp.int32), mask, True)
    slots = jnp.argsort(~mask, stable=True)[:size].astype(jnp.int32)
    return Group(slots, mask[slots], False)
