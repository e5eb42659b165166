"""Causal language-model losses over padded batches.

A loss is a function `(params, config, batch, key) -> float32 []`; the functions here ignore the key. `params` may hold
adapted weights. A batch is a dict `{"tokens" int32 [B, T], "mask" bool [B, T]}`, optionally with `"loss_mask"` bool
`[B, T]`, which says which tokens are targets.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from seal_jax import models

Batch: TypeAlias = Mapping[str, Any]
LossFn: TypeAlias = Callable[[Any, models.Config, Batch, jax.Array], jax.Array]

PAD_LOSSES = ("masked", "reference")


def causal_lm(
    params: Any,
    config: models.Config,
    batch: Batch,
    key: jax.Array | None = None,
    *,
    pad_loss: str = "masked",
    remat: bool = False,
) -> jax.Array:
    """Mean negative log-likelihood, in nats, of the target tokens given their prefixes: float32 `[]`.

    batch: see the module. Without `"loss_mask"` the targets are the tokens of `"mask"`; with it they are its True
    tokens, pads included, so that an end-of-text pad can be learnt. The first token of a row is never a target. Rows
    that are all padding contribute nothing, and no targets at all give 0.
    pad_loss: "reference" reproduces SEAL's released code, in which every pad is a target too (pad with the end-of-text
    token and leave it out of `"mask"`): the mean runs over all T - 1 tokens, while pads stay hidden as keys and their
    positions go on counting. It needs right-padded rows and ignores `"loss_mask"`.
    remat: recompute each layer in the backward pass.
    """
    tokens, mask = batch["tokens"], batch["mask"]
    if pad_loss not in PAD_LOSSES:
        raise ValueError(f"pad_loss={pad_loss!r} is not one of {', '.join(map(repr, PAD_LOSSES))}")
    positions = None
    if pad_loss == "reference":
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[-1], dtype=jnp.int32), tokens.shape)
        targets = jnp.broadcast_to(mask.any(axis=-1, keepdims=True), tokens.shape)
    else:
        targets = batch.get("loss_mask", mask) & mask.any(axis=-1, keepdims=True)
    targets = targets.at[:, 0].set(False)
    log_probs = token_log_probs(params, config, tokens, mask, positions=positions, remat=remat)
    count = targets.sum(dtype=jnp.float32)
    return -jnp.where(targets, log_probs, 0.0).sum() / jnp.maximum(count, 1.0)


@functools.cache
def lm_loss(pad_loss: str = "masked", remat: bool = False) -> LossFn:
    """`causal_lm` with its options bound. Equal options give the same object, so no loop recompiles because of them."""
    return functools.partial(causal_lm, pad_loss=pad_loss, remat=remat)


def token_log_probs(
    params: Any,
    config: models.Config,
    tokens: jax.Array,
    mask: jax.Array | None = None,
    *,
    positions: jax.Array | None = None,
    remat: bool = False,
) -> jax.Array:
    """Log-probability, in nats, of each token given its prefix: float32 `[B, T]`, 0 for the first column.

    tokens int32 `[B, T]`, mask bool `[B, T]` (True = real). Entries at pads, and at the first real token of a
    left-padded row, are finite and meaningless: select with a mask. positions: int32 `[B, T]`, default by the mask.
    """
    hidden = models.hidden_states(params, config, tokens, mask, positions=positions, remat=remat)
    # Position t predicts token t + 1. Rolling keeps T, and with it aligned shapes, at the price of one unused column.
    targets = jnp.roll(tokens, -1, axis=-1)
    logits = models.unembed(params, config, hidden)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    log_probs = chosen - jax.nn.logsumexp(logits, axis=-1)
    return jnp.pad(log_probs[:, :-1], ((0, 0), (1, 0)))
