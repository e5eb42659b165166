"""A-GEM (arXiv 1812.00420): no step that, to first order, makes the loss on remembered examples worse."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from seal_jax.continual.projections.trees import dots, restricted


def agem(eps: float = 1e-12) -> optax.GradientTransformationExtraArgs:
    """The gradient g, less its part against the memory gradient r: g - (<g, r> / (<r, r> + eps)) r where <g, r> < 0.

    Put it first, on raw gradients (gradient sign); Adam after it changes directions, so the promise is lost in part.
    `update` takes the extra argument `memory_grad`, a tree like the gradient: the gradient of the loss on a batch drawn
    from memory, at the same parameters. Zeros, while there is no memory, change nothing. Inner products run over the
    whole tree in float32; updates keep their dtype. Under `optax.MultiSteps` the memory gradient of the last micro-step
    is what is used. Raises ValueError without `memory_grad`.
    """

    def init(params: optax.Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    def update(
        updates: Any, state: Any, params: Any = None, *, memory_grad: Any = None, **extra_args: Any
    ) -> tuple[Any, Any]:
        del params, extra_args
        if memory_grad is None:
            raise ValueError("agem needs memory_grad=, a tree like the gradient (zeros while there is no memory)")
        memory = restricted(memory_grad, updates, "memory_grad")
        along = dots(memory, updates, axes=0)
        share = jnp.where(along < 0, along / (dots(memory, memory, axes=0) + eps), 0.0)
        return jax.tree.map(lambda g, r: _less(g, share * r.astype(jnp.float32)), updates, memory), state

    return optax.GradientTransformationExtraArgs(init, update)


def _less(update: jax.Array, part: jax.Array) -> jax.Array:
    return (update.astype(jnp.float32) - part).astype(update.dtype)
