"""Weights of examples by their loss: IR-DRO (arXiv 2402.14270), which leans to hard ones, and MidRanking."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax import models
from seal_jax.training.loss import Batch, target_mask, token_log_probs


def dro_weights(losses: jax.Array, lam: Any = 1.0, mask: jax.Array | None = None) -> jax.Array:
    """softmax(losses / lam) over the examples of a batch: float32 `[B]`, of sum 1, without a gradient.

    losses: float `[B]`; lam: the strength of the pull to equal weights, over 0; mask: bool `[B]`, False for padding.
    """
    mask = jnp.ones(losses.shape, bool) if mask is None else mask
    scaled = jax.lax.stop_gradient(losses).astype(jnp.float32) / lam
    return jnp.where(mask, jax.nn.softmax(jnp.where(mask, scaled, -jnp.inf)), 0.0)


def mid_rank_weights(losses: jax.Array, share: Any, place: int, mask: jax.Array | None = None) -> jax.Array:
    """Equal weights for one slice of the examples in the order of falling loss: float32 `[B]`, of sum 1 or less.

    The slice is number `place` (0-based) of those of `share` of the examples each, rounded to one at least. share: in
    (0, 1]. mask: bool `[B]`, False for padding. Of equal losses, the first come first. A place beyond the end has none.
    """
    mask = jnp.ones(losses.shape, bool) if mask is None else mask
    order = jnp.argsort(jnp.where(mask, -losses, jnp.inf), stable=True)
    ranks = jnp.zeros(losses.shape, jnp.int32).at[order].set(jnp.arange(len(losses), dtype=jnp.int32))
    count = jnp.maximum(jnp.round(share * mask.sum(dtype=jnp.float32)).astype(jnp.int32), 1)
    chosen = mask & (ranks >= place * count) & (ranks < (place + 1) * count)
    return chosen.astype(jnp.float32) / jnp.maximum(chosen.sum(dtype=jnp.float32), 1.0)


def example_losses(
    params: Any, config: models.Config, batch: Batch, remat: bool = False, chunk: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """Each row's mean negative log-likelihood of a target, float32 `[B]`, and which rows have targets, bool `[B]`."""
    chosen = target_mask(batch)
    log_probs = token_log_probs(params, config, batch["tokens"], batch["mask"], remat=remat, chunk=chunk)
    counts = chosen.sum(axis=-1, dtype=jnp.float32)
    return -jnp.where(chosen, log_probs, 0.0).sum(axis=-1) / jnp.maximum(counts, 1.0), counts > 0


class DroLoss(NamedTuple):
    """The sum of the rows' mean losses times `dro_weights`, over the rows of a batch (under `accumulate`, of a part).

    lam: of the weights (the released code's default is 1). remat, chunk: as in `training.causal_lm`.
    """

    lam: float = 1.0
    remat: bool = False
    chunk: int | None = None

    def __call__(self, params: Any, config: models.Config, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """The loss of one batch as `training.causal_lm` takes it, float32 `[]`."""
        del key
        losses, real = example_losses(params, config, batch, self.remat, self.chunk)
        return (dro_weights(losses, self.lam, real) * losses).sum()


class MidRankLoss(NamedTuple):
    """The mean of the rows' mean losses over slice `place` of `share` of the rows, in the order of falling loss.

    remat, chunk: as in `training.causal_lm`. See `mid_rank_weights`.
    """

    share: float = 0.5
    place: int = 0
    remat: bool = False
    chunk: int | None = None

    def __call__(self, params: Any, config: models.Config, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """The loss of one batch as `training.causal_lm` takes it, float32 `[]`."""
        del key
        losses, real = example_losses(params, config, batch, self.remat, self.chunk)
        return (jax.lax.stop_gradient(mid_rank_weights(losses, self.share, self.place, real)) * losses).sum()


def ir_dro_loss(lam: float = 1.0, remat: bool = False, chunk: int | None = None) -> DroLoss:
    """`DroLoss` with these settings, for `finetune(loss_fn=)`. ValueError unless lam is over 0."""
    if not lam > 0:
        raise ValueError(f"lam={lam} must be over 0; a large one weighs all examples alike")
    return DroLoss(lam, remat, chunk)


def mid_rank_loss(share: float = 0.5, place: int = 0, remat: bool = False, chunk: int | None = None) -> MidRankLoss:
    """`MidRankLoss` with these settings, for `finetune(loss_fn=)`. ValueError for a slice that is not there."""
    if not 0 < share <= 1 or not 0 <= place < 1 / share:
        raise ValueError(f"slice {place} of {share=} of the rows is not there; share is in (0, 1], place from 0 on")
    return MidRankLoss(share, place, remat, chunk)
