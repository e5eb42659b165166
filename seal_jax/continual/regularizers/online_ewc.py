"""Online EWC (arXiv 1805.06370): one anchor, the latest, and a fading sum of importances."""

from __future__ import annotations

import optax

from seal_jax.continual.regularizers.anchor import (
    LearningRate,
    Scalar,
    anchored,
    check_not_negative,
    latest_anchor,
)


def online_ewc(
    lam: Scalar, learning_rate: LearningRate | None = None, placement: str = "proximal"
) -> optax.GradientTransformationExtraArgs:
    """Add the pull of `lam / 2 * sum_i Omega_i (theta_i - theta*_i)^2`, theta* where the latest task ended.

    Each task ends with `consolidate(opt_state, params, importance, gamma)`: `Omega = gamma * Omega + importance`.
    Arguments, memory and errors as in `ewc`, which keeps the anchor of every task.
    """
    check_not_negative("lam", lam)
    return anchored(latest_anchor, lam, learning_rate, placement)
