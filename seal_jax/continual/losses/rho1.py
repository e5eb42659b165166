"""RHO-1 (arXiv 2404.07965): train on the tokens whose loss is furthest above that of a reference model."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax import models
from seal_jax.continual.losses.means import masked_mean
from seal_jax.training.loss import Batch, target_mask, token_log_probs


def select_tokens(excess: jax.Array, mask: jax.Array, share: Any) -> jax.Array:
    """The `share` of the tokens under `mask` with the largest excess loss, over the whole batch: bool like `mask`.

    excess: float `[...]`, of which no gradient is taken; mask: bool `[...]`; share: in (0, 1], a number or an array
    `[]`. Their number is rounded to the nearest, and is at least one. Of equal ones, the first in row order are taken.
    """
    flat = jnp.where(mask, jax.lax.stop_gradient(excess).astype(jnp.float32), -jnp.inf).ravel()
    order = jnp.argsort(-flat, stable=True)
    ranks = jnp.zeros(flat.shape, jnp.int32).at[order].set(jnp.arange(len(flat), dtype=jnp.int32))
    count = jnp.maximum(jnp.round(share * mask.sum(dtype=jnp.float32)).astype(jnp.int32), 1)
    return mask & (ranks.reshape(mask.shape) < count)


class RhoLoss(NamedTuple):
    """The mean negative log-likelihood of the targets that `select_tokens` takes; with share=1, `training.causal_lm`.

    share: of the targets of a batch (published: 0.6 at 1B parameters, 0.7 at 7B); under `accumulate` of each part.
    remat, chunk: as in `training.causal_lm`. Equal settings are equal objects.
    """

    share: float = 0.6
    remat: bool = False
    chunk: int | None = None

    def __call__(self, params: Any, config: models.Config, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """The loss of one batch, float32 `[]`.

        batch: as in `training.causal_lm`, through `with_reference` with a model of clean data; ValueError for one that
        has not been.
        """
        del key
        if "reference_log_probs" not in batch:
            raise ValueError('the batch has no "reference_log_probs": pass it through losses.with_reference first')
        log_probs = token_log_probs(params, config, batch["tokens"], batch["mask"], remat=self.remat, chunk=self.chunk)
        chosen = select_tokens(batch["reference_log_probs"] - log_probs, target_mask(batch), self.share)
        return masked_mean(-log_probs, chosen)

    def weight(self, batch: Batch) -> jax.Array:
        """What a part of a batch counts for under `accumulate`: its targets, float32 `[]`."""
        return target_mask(batch).sum(dtype=jnp.float32)


def rho1_loss(share: float = 0.6, remat: bool = False, chunk: int | None = None) -> RhoLoss:
    """`RhoLoss` with these settings, for `finetune(loss_fn=)`. ValueError for a share outside (0, 1]."""
    if not 0 < share <= 1:
        raise ValueError(f"share={share} of the tokens is not in (0, 1]")
    return RhoLoss(share, remat, chunk)
