"""What every replay memory is, and how examples are drawn from it.

A memory is a tree of arrays with M slots. A policy says which slots new items take: `Reservoir`, `Ring`, `Balanced`.
Everything is traceable with static shapes, works under `vmap` (several memories at once) and `scan`, and draws by
counter: the n-th item that is offered meets the same draw however the items were divided into calls.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

Scalar = jax.Array | int


class Memory(NamedTuple):
    """The state of a replay memory of M slots, a tree of arrays that a checkpoint can hold.

    items: leaves `[M, ...]`; task: int32 `[M]`, what was given as `task`, -1 in an empty slot; priority: float32 `[M]`,
    read by `Balanced` alone; seen: int32, items offered so far, `[]`, or `[T]` by task in a `Ring`; seed, capacity:
    int32 `[]`, of at most `capacity` slots are used, so that memories of different sizes can share one program.
    """

    items: Any
    task: jax.Array
    priority: jax.Array
    seen: jax.Array
    seed: jax.Array
    capacity: jax.Array


class Drawn(NamedTuple):
    """Items from a memory: leaves `[count, ...]`; task: int32 `[count]`; valid: bool `[count]`, all or none."""

    items: Any
    task: jax.Array
    valid: jax.Array


class Policy(Protocol):
    """Which items a memory keeps; instances are hashable and equal by value, so they can be static arguments."""

    def init(self, example: Any, seed: Scalar = 0, capacity: Scalar | None = None) -> Memory:
        """An empty memory for items like `example`, a tree of arrays or shapes without a leading axis."""
        ...

    def add(self, memory: Memory, items: Any, task: Scalar = 0, valid: jax.Array | None = None) -> Memory:
        """The memory after items `[n, ...]` were offered in order; `task` int or int32 `[n]`; `valid` bool `[n]`."""
        ...


def empty(example: Any, size: int, seen: tuple[int, ...], seed: Scalar, capacity: Scalar | None) -> Memory:
    """A memory without items. ValueError for a size below 1."""
    if size < 1:
        raise ValueError(f"a memory of {size} slots: it takes 1 or more")
    zeros = jax.tree.map(lambda x: jnp.zeros((size, *jnp.shape(x)), x.dtype), jax.tree.map(_shaped, example))
    number = lambda x: jnp.asarray(x).astype(jnp.int32)  # noqa: E731
    return Memory(
        items=zeros,
        task=jnp.full(size, -1, jnp.int32),
        priority=jnp.zeros(size, jnp.float32),
        seen=jnp.zeros(seen, jnp.int32),
        seed=number(seed),
        capacity=jnp.minimum(number(size if capacity is None else capacity), size),
    )


def filled(memory: Memory) -> jax.Array:
    """How many slots hold an item: int32 `[]`."""
    return (memory.task >= 0).sum(dtype=jnp.int32)


def sample(memory: Memory, key: jax.Array, count: int, task: Scalar | None = None) -> Drawn:
    """`count` items at random, of one task if `task` is given.

    Without replacement as far as there are that many: no item comes twice before each has come once. `valid` is False
    throughout, and the items are zeros or of other tasks, where there is none to draw.
    """
    wanted = memory.task >= 0 if task is None else memory.task == task
    noise = jnp.where(wanted, jax.random.uniform(key, wanted.shape), jnp.inf)
    there = wanted.sum(dtype=jnp.int32)
    slots = jnp.argsort(noise)[jnp.arange(count, dtype=jnp.int32) % jnp.maximum(there, 1)]
    items = jax.tree.map(lambda x: x[slots], memory.items)
    return Drawn(items, memory.task[slots], jnp.broadcast_to(there > 0, (count,)))


def offered(items: Any, task: Scalar, valid: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Task int32 `[n]` and whether it counts, bool `[n]`, of each offered item. ValueError for leaves of other n."""
    counts = {jnp.shape(x)[:1] for x in jax.tree.leaves(items)}
    if len(counts) != 1 or () in counts:
        raise ValueError(f"items to remember need one leading axis, and have the shapes {_shapes(items)}")
    (shape,) = counts
    tasks = jnp.broadcast_to(jnp.asarray(task).astype(jnp.int32), shape)
    return tasks, jnp.ones(shape, bool) if valid is None else valid


def draws(memory: Memory, numbers: jax.Array) -> jax.Array:
    """A key for each item number, int32 `[n]`: keys `[n]`."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(memory.seed), numbers)


def write(memory: Memory, items: Any, task: jax.Array, slots: jax.Array) -> Memory:
    """The items `[n, ...]` in their slots, int32 `[n]`: of several for one slot the last; M or more is no slot."""
    size, order = len(memory.task), jnp.arange(len(slots), dtype=jnp.int32)
    # A scatter does not say which of two writes to one slot stays.
    last = jnp.full(size, -1, jnp.int32).at[slots].max(order, mode="drop")
    slots = jnp.where(last.at[slots].get(mode="fill", fill_value=-1) == order, slots, size)
    put = lambda old, new: old.at[slots].set(new.astype(old.dtype), mode="drop")  # noqa: E731
    return memory._replace(items=jax.tree.map(put, memory.items, items), task=put(memory.task, task))


def _shaped(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)


def _shapes(items: Any) -> list[tuple[int, ...]]:
    return [jnp.shape(x) for x in jax.tree.leaves(items)]
