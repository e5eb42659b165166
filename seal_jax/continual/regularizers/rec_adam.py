"""RecAdam (arXiv 2004.12651): from the anchor to the task, by a sigmoid over the steps of the training."""

from __future__ import annotations

from typing import Any

import jax
import optax

from seal_jax.continual.regularizers.anchor import (
    LatestAnchor,
    LearningRate,
    Scalar,
    as_float,
    check_not_negative,
    check_placement,
    pull,
    rate_at,
)
from seal_jax.continual.regularizers.l2_sp import at_start


def rec_adam(
    gamma: Scalar,
    learning_rate: LearningRate | None = None,
    placement: str = "proximal",
    *,
    k: Scalar = 0.5,
    t0: Scalar = 250.0,
    w: Scalar = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """Scale what comes in by `s(t) = w * sigmoid(k * (t - t0))` and pull to the anchor with `(w - s(t)) * gamma`.

    t counts updates from 1 since `init` or the last consolidation, `consolidate(opt_state, params)`, where the anchor
    moves to. Early steps recall the anchor, late ones learn the task. After `optax.adam(learning_rate)` with
    placement="decoupled" this is the paper's update (its torch code pulls from where the Adam step has led already);
    it diverges where `learning_rate * gamma > 2`, which the proximal placement does not. gamma: 5000 in the paper.
    learning_rate, placement: as in `ewc`; state as in `l2_sp`.
    Raises ValueError for negative or NaN settings, an unknown placement or one without its learning rate.
    """
    check_placement(placement, learning_rate)
    for name, value in (("gamma", gamma), ("k", k), ("t0", t0), ("w", w)):
        check_not_negative(name, value)

    def annealed(state: LatestAnchor) -> tuple[jax.Array, jax.Array]:
        since = (state.cl_count - state.cl_begun + 1).astype("float32")
        share = as_float(w) * jax.nn.sigmoid(as_float(k) * (since - as_float(t0)))
        return share, (as_float(w) - share) * as_float(gamma)

    def init(params: optax.Params) -> LatestAnchor:
        state = at_start(params, 0.0)
        return state._replace(cl_strength=annealed(state)[1])

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra
        share, strength = annealed(state)
        scaled = jax.tree.map(lambda u: (share * u.astype("float32")).astype(u.dtype), updates)
        rate = rate_at(learning_rate, state.cl_count)
        pulled = pull(scaled, params, state.cl_anchor, None, strength, rate, placement)
        return pulled, state._replace(cl_strength=strength, cl_count=optax.safe_increment(state.cl_count))

    return optax.GradientTransformationExtraArgs(init, update)
