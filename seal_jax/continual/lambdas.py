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
penalty to the loss) and the same importance. That is the same in kind, but for these differences:

- avalanche, EWC: squares of batch gradients with labels of the data, `fisher(estimator="batch_squared")`.
- TRACE, EWC: the same squares, one anchor (`online_ewc`), but added up at every training step, with the gradient of the
  penalty in them, and never reset. Approximate.
- mammoth, EWC: squared gradients weighted by `p(y|x)`. `"sampled"` is of that kind and has other numbers. Approximate.
- SI: avalanche clamps importances at 0.001 and its path has the gradient of the penalty in it; mammoth clips the values
  of gradients at 1 and keeps negative importances. Approximate.
- MAS: avalanche takes absolute values after the mean over a batch, `sensitivity(per="batch")`, and merges importances
  as `alpha * old + (1 - alpha) * new`: give `consolidate` `gamma=alpha` and the new one times `1 - alpha`.

`normalized` converts further.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seal_jax.continual.regularizers.anchor import check_not_negative


def from_avalanche(ewc_lambda: float) -> float:
    """`ewc`'s `lam` for avalanche's `EWCPlugin(ewc_lambda)`, whose penalty has no half.

    Raises ValueError, as the others do, unless the strength is one finite number of at least 0.
    """
    check_not_negative("ewc_lambda", ewc_lambda)
    return 2.0 * ewc_lambda


def from_mammoth(e_lambda: float) -> float:
    """`online_ewc`'s `lam` for mammoth's `--e_lambda` of `ewc_on`, whose gradient is `2 * e_lambda * F * d`."""
    check_not_negative("e_lambda", e_lambda)
    return 2.0 * e_lambda


def from_trace(reg: float) -> float:
    """`online_ewc`'s `lam` for the strength of TRACE's EWC (400 there), which has the paper's half and one anchor."""
    check_not_negative("reg", reg)
    return reg


def normalized(lam: float, importance: Any) -> jax.Array:
    """The strength, float32 `[]`, that pulls as `lam` does on `importance` once that has been scaled to mean 1.

    importance: the tree that `consolidate` is given, of it what the transform covers. Tasks whose importances have
    other means get another weight than they would without normalising; of one task the pulls are equal.
    """
    check_not_negative("lam", lam)
    leaves = jax.tree.leaves(importance)
    total = sum((x.astype(jnp.float32).sum() for x in leaves), jnp.zeros((), jnp.float32))
    return lam * total / sum(x.size for x in leaves)
