"""Gradients of a batch from parts of it, one after the other: a large batch in the memory of a small one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

ValueAndGrad: TypeAlias = Callable[[Any, Any, jax.Array], tuple[jax.Array, Any]]


def accumulated(differentiated: ValueAndGrad, parts: int, weight: Callable[[Any], jax.Array] | None) -> ValueAndGrad:
    """A `value_and_grad` that splits every array `[B, ...]` of its batch into `parts` of B / parts rows.

    differentiated: `(trained, batch, key) -> (value [], grads)`, the mean loss of a batch. The result is the mean of
    the parts, each counted by `weight(part)` (float32 `[]`, for example its number of targets; None: all alike), so
    that it is the loss of the whole batch. Sums are float32. Part k sees the key `fold_in(key, k)`.
    """
    if parts == 1:
        return differentiated

    def value_and_grad(trained: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        def add(sums: Any, item: tuple[jax.Array, Any]) -> tuple[Any, None]:
            index, part = item
            count = jnp.float32(1.0) if weight is None else weight(part)
            value, grads = differentiated(trained, part, jax.random.fold_in(key, index))
            weighted = jax.tree.map(lambda x: count * x.astype(jnp.float32), (jnp.float32(1.0), value, grads))
            return jax.tree.map(jnp.add, sums, weighted), None

        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), trained)
        start = (jnp.float32(0.0), jnp.float32(0.0), zeros)
        (total, value, grads), _ = jax.lax.scan(add, start, (jnp.arange(parts), _parts(batch, parts)))
        mean = 1.0 / jnp.where(total > 0, total, 1.0)
        return value * mean, jax.tree.map(lambda g, t: (g * mean).astype(t.dtype), grads, trained)

    return value_and_grad


def _parts(batch: Any, parts: int) -> Any:
    """`[B, ...]` -> `[parts, B / parts, ...]`; row i goes to part i % parts, so rows split over devices stay there."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), batch)
