"""Parameters that do not move: by a fixed mask, or by masks that change from task to task."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seal_jax.continual.projections.trees import restricted, rewrite


class GradMaskState(NamedTuple):
    """`cl_grad_mask`: what multiplies each update, float32, like the parameters."""

    cl_grad_mask: Any


def freeze_mask(frozen: Any) -> optax.GradientTransformation:
    """Steps that are zero where `frozen` is True. Put it last: weight decay or a pull after it would move them.

    frozen: a tree of bools or of bool arrays that broadcast to the parameters', or a prefix of one: `[L, 1, 1]` is for
    some layers of a stack, `[V, 1]` for the rows of some tokens. Moments and anchors go on being kept for what is
    frozen; where that costs memory, use `optax.partition`. A NaN in what is frozen becomes zero too. Or a function
    that makes such a tree from the updates.
    """

    def mask(frozen: Any, updates: Any) -> Any:
        return jax.tree.map(lambda u: _zeroed(frozen, u), updates)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        return jax.tree.map(mask, frozen(updates) if callable(frozen) else frozen, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def grad_mask() -> optax.GradientTransformationExtraArgs:
    """Updates times a mask that is part of the state: ones, until `set_grad_mask` puts another in its place.

    Put it last (step sign): a mask before Adam is divided out again where it is the same in every step.
    """

    def init(params: optax.Params) -> GradMaskState:
        return GradMaskState(jax.tree.map(lambda p: jnp.ones_like(p, jnp.float32), params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
        del params, extra_args
        masked = jax.tree.map(lambda u, m: (u.astype(jnp.float32) * m).astype(u.dtype), updates, state.cl_grad_mask)
        return masked, state

    return optax.GradientTransformationExtraArgs(init, update)


def set_grad_mask(opt_state: Any, mask: Any) -> Any:
    """The optimizer state whose `grad_mask` multiplies by `mask`, a tree like the parameters (0: frozen, 1: free).

    Pure, and may be traced. ValueError for another tree, or if there is no `grad_mask` in the state.
    """

    def change(state: GradMaskState) -> GradMaskState:
        new = restricted(mask, state.cl_grad_mask, "the mask")
        return GradMaskState(jax.tree.map(lambda x: jnp.asarray(x).astype(jnp.float32), new))

    return rewrite(opt_state, GradMaskState, change)


def mask_from_importance(importance: Any, share: Any, soft: bool = False) -> Any:
    """A mask for `set_grad_mask` that keeps the most important parameters where they are.

    importance: a tree of numbers of 0 or more (Fisher, MAS, SI). share: of all parameters of the tree, in [0, 1], those
    that are frozen, by rank over the whole tree; ties are frozen together. soft: the others are slowed down, by 1 -
    importance / the least of a frozen one. Float32 in [0, 1]. Sorts the whole tree: for adapters. May be traced.
    """
    leaves = [jnp.ravel(x).astype(jnp.float32) for x in jax.tree.leaves(importance)]
    ordered = jnp.sort(jnp.concatenate(leaves))
    count = jnp.round(jnp.asarray(share, jnp.float32) * len(ordered)).astype(jnp.int32)
    limit = jnp.where(count > 0, ordered[jnp.clip(len(ordered) - count, 0, len(ordered) - 1)], jnp.inf)
    scale = jnp.where(jnp.isfinite(limit), limit, ordered[-1])

    def mask(x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        free = 1.0 - x / jnp.where(scale > 0, scale, 1.0) if soft else jnp.ones_like(x)
        return jnp.where(x < limit, jnp.maximum(free, 0.0), 0.0)

    return jax.tree.map(mask, importance)


def _zeroed(frozen: Any, update: Any) -> Any:
    return jnp.where(jnp.asarray(frozen, bool), jnp.zeros_like(update), update)
