"""L2-SP (arXiv 1802.01483): decay towards where the training started instead of towards zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from seal_jax.continual.regularizers.anchor import (
    FixedAnchor,
    LatestAnchor,
    LearningRate,
    Scalar,
    anchored,
    as_float,
    check_not_negative,
    copied,
    zeros,
)


def l2_sp(
    alpha: Scalar,
    learning_rate: LearningRate | None = None,
    placement: str = "proximal",
    *,
    beta: Scalar = 0.0,
    new: Any | Callable[[Any], Any] = None,
) -> optax.GradientTransformationExtraArgs:
    """Add the pull of `alpha / 2 * |theta - theta_0|^2` on old parameters and `beta / 2 * |theta|^2` on new ones.

    theta_0 is where the parameters were at `init`, or when they were last consolidated (`consolidate(opt_state,
    params)`, without importance). One float32 tree of state.
    new: which parameters have no starting point worth keeping (a head, say): a mask of bools as `optax.masked` takes
    it, or a function from the parameters to one. By default there are none.
    learning_rate, placement: as in `ewc`. Raises ValueError for negative or NaN settings, an unknown placement or one
    without its learning rate.
    """
    check_not_negative("alpha", alpha)
    check_not_negative("beta", beta)
    old = anchored(at_start, alpha, learning_rate, placement)
    if new is None:
        return old
    is_new = new if callable(new) else lambda _: new
    is_old = lambda params: jax.tree.map(lambda chosen: not chosen, is_new(params))  # noqa: E731
    decay = anchored(_at_zero, beta, learning_rate, placement)
    return optax.chain(optax.masked(old, is_old), optax.masked(decay, is_new))


def at_start(params: Any, strength: Scalar) -> LatestAnchor:
    """The state with the anchor at `params` and an importance of ones, which is not stored."""
    count, begun = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    return LatestAnchor(copied(params), None, as_float(strength), count, begun)


def _at_zero(params: Any, strength: Scalar) -> FixedAnchor:
    return FixedAnchor(zeros(params), None, as_float(strength), jnp.zeros((), jnp.int32))
