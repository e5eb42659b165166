"""Memory aware synapses (arXiv 1711.09601): importance by how much the output depends on a parameter."""

from __future__ import annotations

import optax

from seal_jax.continual.regularizers.anchor import (
    LearningRate,
    Scalar,
    anchored,
    as_float,
    check_not_negative,
    latest_anchor,
)


def mas(
    lam: Scalar, learning_rate: LearningRate | None = None, placement: str = "proximal"
) -> optax.GradientTransformationExtraArgs:
    """Add the pull of `lam * sum_i Omega_i (theta_i - theta*_i)^2`, theta* where the latest task ended: no half.

    Each task ends with `consolidate(opt_state, params, importance)` and an importance from `sensitivity`, or of any
    model `output_sensitivity`, which need no labels: `Omega = gamma * Omega + importance`.
    Arguments, memory and errors as in `ewc`; for equal strength `lam` is half of `ewc`'s.
    """
    check_not_negative("lam", lam)
    return anchored(latest_anchor, 2.0 * as_float(lam), learning_rate, placement)
