"""Elastic weight consolidation (arXiv 1612.00796) with the penalties of all earlier tasks."""

from __future__ import annotations

import optax

from seal_jax.continual.regularizers.anchor import (
    LearningRate,
    Scalar,
    anchored,
    check_not_negative,
    exact_anchors,
)


def ewc(
    lam: Scalar, learning_rate: LearningRate | None = None, placement: str = "proximal"
) -> optax.GradientTransformationExtraArgs:
    """Add the pull of `lam / 2 * sum_k sum_i F_k,i (theta_i - theta_k,i)^2` over the tasks k consolidated so far.

    Each task ends with `consolidate(opt_state, params, importance)`; before the first, the pull is exactly zero. The
    sum over tasks is exact and takes the memory of one: two float32 trees like the parameters. Keep the parameters
    themselves in float32 too: in bfloat16 small pulls are lost to rounding.
    lam: a number or an array `[]`, traced ones too; with importances of mean 1 (the default of `consolidate`) 10 is a
    good start for the proximal placement and 0.1 for the coupled one. `lambdas` converts those of other libraries.
    learning_rate: of the optimizer before it, a number, an array or a schedule (update number -> rate).
    placement: see `anchor`; `"proximal"` and `"decoupled"` come last in the chain, `"coupled"` before the optimizer.
    Raises ValueError for a negative or NaN `lam`, an unknown placement, or one without its learning rate.
    """
    check_not_negative("lam", lam)
    return anchored(exact_anchors, lam, learning_rate, placement)
