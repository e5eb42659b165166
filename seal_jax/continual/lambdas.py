"""Strengths of other libraries as strengths of ours, for importances that are not normalised.

| library | its penalty | its gradient | ours |
|---|---|---|---|
| EWC paper, TRACE | `lambda / 2 * F * d^2` | `lambda * F * d` | `lam = lambda` |
| avalanche | `lambda * F * d^2` | `2 * lambda * F * d` | `lam = 2 * lambda` |
| mammoth | `e_lambda * F * d^2` | `2 * e_lambda * F * d` | `lam = 2 * e_lambda` |

d is the distance from the anchor. Ours is `ewc` and `online_ewc`, `lam / 2 * F * d^2`; `mas` and `si` are written
without the half, as in their papers: their `lam` and `c` are half of `ewc`'s. mammoth's `c` of SI is ours, avalanche's
`si_lambda`, which has the half, twice ours; avalanche's `lambda_reg` of MAS is ours.

These numbers hold for `consolidate(..., normalize=False)`, the placement "coupled" (all of the libraries add the
penalty to the loss) and the same Fisher: avalanche and TRACE have the squares of batch gradients with labels of the
data (`fisher(estimator="batch_squared")`), mammoth squared gradients weighted by probabilities ("sampled" in
expectation). `normalized` converts further.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def from_avalanche(ewc_lambda: float) -> float:
    """`ewc`'s `lam` for avalanche's `EWCPlugin(ewc_lambda)`, whose penalty has no half."""
    return 2.0 * ewc_lambda


def from_mammoth(e_lambda: float) -> float:
    """`online_ewc`'s `lam` for mammoth's `--e_lambda` of `ewc_on`, whose gradient is `2 * e_lambda * F * d`."""
    return 2.0 * e_lambda


def from_trace(reg: float) -> float:
    """`ewc`'s `lam` for the regularization strength of TRACE's EWC (400 there), which has the paper's half."""
    return reg


def normalized(lam: float, importance: Any) -> jax.Array:
    """The strength, float32 `[]`, that pulls as `lam` does on `importance` once that has been scaled to mean 1.

    importance: the tree that `consolidate` is given. Tasks whose importances have other means get another weight than
    they would without normalising; of one task the pulls are equal.
    """
    leaves = jax.tree.leaves(importance)
    total = sum((x.astype(jnp.float32).sum() for x in leaves), jnp.zeros((), jnp.float32))
    return lam * total / sum(x.size for x in leaves)
