"""GEM (arXiv 1706.08840): the gradient nearest to the loss's that agrees with the gradient of every past task."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from seal_jax.continual.projections.trees import combined, dots, gram, restricted
from seal_jax.continual.regularizers.anchor import check_not_negative

ROUNDING = 1e-6  # of a slope, against the terms that it is the sum of


def gem(tasks: int, margin: float = 0.5, eps: float = 1e-3, sweeps: int = 50) -> optax.GradientTransformationExtraArgs:
    """The gradient g as z = g + G'v, with v the solution of `dual` for the past tasks' gradients G (rows).

    Put it first, on raw gradients (gradient sign). Where no past task's gradient is against g, nothing changes.
    tasks: of which memories there is room for. margin: the least v_k where a projection takes place, which leans
    towards the past; 0 is the plain projection. eps: added to the diagonal of GG', in the units of a squared gradient
    norm. sweeps: at most so many rounds of the solver, which stops when v solves the dual to float32; a few suffice.

    `update` takes the extra arguments `memory_grads`, a tree like the gradient whose leaves lead with `[tasks]`, and
    `filled`, bool `[tasks]` (default: tasks whose gradient is not zero throughout). Inner products run over the whole
    tree in float32; updates keep their dtype. Raises ValueError without `memory_grads`, for another number of tasks,
    and for a margin or eps that is not one finite number of at least 0.
    """
    if tasks < 1 or sweeps < 1:
        raise ValueError(f"gem needs tasks, sweeps >= 1, got {tasks=}, {sweeps=}")
    check_not_negative("margin", margin)
    check_not_negative("eps", eps)

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
    products: jax.Array, along: jax.Array, filled: jax.Array, margin: Any = 0.5, eps: Any = 1e-3, sweeps: int = 50
) -> jax.Array:
    """argmin over v >= margin of 0.5 v'(P + eps I)v + q'v: float32 `[tasks]`.

    Rounds of a projected Gauss-Seidel sweep, which finds the bound entries, and Newton steps of the others as far as
    the next bound, without which nearly parallel past gradients would take thousands of sweeps; until every slope is
    right to rounding, at most `sweeps` rounds. products: P = GG', float32 `[tasks, tasks]`; along: q = Gg, float32
    `[tasks]`; filled: bool `[tasks]`, v is 0 where it is False or where the diagonal of P + eps I is 0.
    """
    count = len(along)
    matrix = products + eps * jnp.eye(count, dtype=jnp.float32)
    diagonal = jnp.diagonal(matrix)
    free = filled & (diagonal > 0)
    matrix = jnp.where(free[:, None] & free[None], matrix, 0.0)
    inverse = jnp.where(free, 1.0 / jnp.where(free, diagonal, 1.0), 0.0)

    def slope(v: jax.Array) -> jax.Array:
        return (matrix * v[None]).sum(axis=1) + along

    def one(i: jax.Array, v: jax.Array) -> jax.Array:
        down = ((matrix[i] * v).sum() + along[i]) * inverse[i]
        return v.at[i].set(jnp.where(free[i], jnp.maximum(margin, v[i] - down), 0.0))

    def unsolved(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        rounds, v, blocked = carry
        terms = (jnp.abs(matrix) * v[None]).sum(axis=1) + jnp.abs(along)
        left = jnp.abs(v - jnp.maximum(margin, v - slope(v) * inverse)) * diagonal
        return (rounds < sweeps) & (blocked | jnp.any(free & (left > ROUNDING * terms)))

    def further(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        rounds, v, blocked = carry
        # After a step that met a bound a sweep would leave that bound again, by a little.
        v = jnp.where(blocked, v, jax.lax.fori_loop(0, count, one, v))
        return rounds + 1, *_newton(matrix, slope(v), v, free & (v > margin), margin)

    begun = jnp.where(free, margin, 0.0).astype(jnp.float32)
    return jax.lax.while_loop(unsolved, further, (jnp.int32(0), begun, jnp.bool_(False)))[1]


def _newton(
    matrix: jax.Array, slope: jax.Array, v: jax.Array, free: jax.Array, margin: Any
) -> tuple[jax.Array, jax.Array]:
    """v after the step to the least value over its free entries, or as far as the first bound; and if it met one."""
    inside = jnp.where(free[:, None] & free[None], matrix, 0.0)
    # Damped, or nearly parallel rows would make it singular in float32.
    damped = inside + jnp.diag(jnp.where(free, ROUNDING * jnp.diagonal(matrix), 1.0))
    slope = jnp.where(free, slope, 0.0)
    step = jnp.linalg.solve(damped, -slope)
    step = jnp.where(jnp.isfinite(step).all(), step, 0.0)
    curvature = (step[:, None] * inside * step[None]).sum()
    best = -(slope * step).sum() / jnp.where(curvature > 0, curvature, 1.0)
    rooms = jnp.where(step < 0, (margin - v) / jnp.where(step < 0, step, 1.0), jnp.inf)
    length = jnp.clip(best, 0.0, rooms.min())
    moved = jnp.where(rooms <= length, margin, jnp.maximum(margin, v + length * step))
    return jnp.where(free, moved, v), rooms.min() < best


def _checked(memory_grads: Any, updates: Any, tasks: int) -> Any:
    if memory_grads is None:
        raise ValueError("gem needs memory_grads=, a tree like the gradient whose leaves lead with [tasks]")
    memories = restricted(memory_grads, updates, "memory_grads", stacked=True)
    lead = {x.shape[:1] for x in jax.tree.leaves(memories)}
    if lead != {(tasks,)}:
        raise ValueError(f"gem was made for {tasks} tasks; the leaves of memory_grads lead with {sorted(lead)}")
    return memories
