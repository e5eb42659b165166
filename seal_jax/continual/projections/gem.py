"""GEM (arXiv 1706.08840): the gradient nearest to the loss's that agrees with the gradient of every past task."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from seal_jax.continual.projections.trees import combined, dots, gram, restricted


def gem(tasks: int, margin: float = 0.5, eps: float = 1e-3, sweeps: int = 50) -> optax.GradientTransformationExtraArgs:
    """The gradient g as z = g + G'v, with v the solution of `dual` for the past tasks' gradients G (rows).

    Put it first, on raw gradients (gradient sign). Where no past task's gradient is against g, nothing changes.
    tasks: of which memories there is room for. margin: the least v_k where a projection takes place, which leans
    towards the past; 0 is the plain projection. eps: added to the diagonal of GG', in the units of a squared gradient
    norm. sweeps: over v in the solver; more where past gradients are nearly parallel.

    `update` takes the extra arguments `memory_grads`, a tree like the gradient whose leaves lead with `[tasks]`, and
    `filled`, bool `[tasks]` (default: tasks whose gradient is not zero throughout). Inner products run over the whole
    tree in float32; updates keep their dtype. Raises ValueError without `memory_grads` or for another number of tasks.
    """
    if tasks < 1 or margin < 0 or eps < 0 or sweeps < 1:
        raise ValueError(
            f"gem needs tasks, sweeps >= 1 and margin, eps >= 0, got {tasks=}, {sweeps=}, {margin=}, {eps=}"
        )

    def init(params: optax.Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    def update(
        updates: Any, state: Any, params: Any = None, *, memory_grads: Any = None, filled: Any = None, **extra_args: Any
    ) -> tuple[Any, Any]:
        del params, extra_args
        memories = _checked(memory_grads, updates, tasks)
        products, along = gram(memories), dots(memories, updates)
        filled = jnp.diagonal(products) > 0 if filled is None else filled
        v = dual(products, along, filled, margin, eps, sweeps)
        v = jnp.where(jnp.any(filled & (along < 0)), v, 0.0)
        added = combined(v, memories)
        return jax.tree.map(lambda g, x: (g.astype(jnp.float32) + x).astype(g.dtype), updates, added), state

    return optax.GradientTransformationExtraArgs(init, update)


def dual(
    products: jax.Array, along: jax.Array, filled: jax.Array, margin: float = 0.5, eps: float = 1e-3, sweeps: int = 50
) -> jax.Array:
    """argmin over v >= margin of 0.5 v'(P + eps I)v + q'v, by projected Gauss-Seidel sweeps: float32 `[tasks]`.

    products: P = GG', float32 `[tasks, tasks]`; along: q = Gg, float32 `[tasks]`; filled: bool `[tasks]`, v is 0 where
    it is False or where the diagonal of P + eps I is 0.
    """
    count = len(along)
    matrix = products + eps * jnp.eye(count, dtype=jnp.float32)
    diagonal = jnp.diagonal(matrix)
    free = filled & (diagonal > 0)
    inverse = jnp.where(free, 1.0 / jnp.where(free, diagonal, 1.0), 0.0)

    def one(k: jax.Array, v: jax.Array) -> jax.Array:
        i = k % count
        slope = (matrix[i] * v).sum() + along[i]
        return v.at[i].set(jnp.where(free[i], jnp.maximum(margin, v[i] - slope * inverse[i]), 0.0))

    return jax.lax.fori_loop(0, sweeps * count, one, jnp.where(free, margin, 0.0).astype(jnp.float32))


def _checked(memory_grads: Any, updates: Any, tasks: int) -> Any:
    if memory_grads is None:
        raise ValueError("gem needs memory_grads=, a tree like the gradient whose leaves lead with [tasks]")
    memories = restricted(memory_grads, updates, "memory_grads", stacked=True)
    lead = {x.shape[:1] for x in jax.tree.leaves(memories)}
    if lead != {(tasks,)}:
        raise ValueError(f"gem was made for {tasks} tasks; the leaves of memory_grads lead with {sorted(lead)}")
    return memories
