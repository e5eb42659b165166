"""Causal language-model losses over padded batches.

A loss is a function `(params, config, batch, key) -> float32 []`; the functions here ignore the key. `params` may hold
adapted weights. A batch is a dict `{"tokens" int32 [B, T], "mask" bool [B, T]}`, optionally with `"loss_mask"` bool
`[B, T]`, which says which tokens are targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from seal_jax import models

Batch: TypeAlias = Mapping[str, Any]
LossFn: TypeAlias = Callable[[Any, models.Config, Batch, jax.Array], jax.Array]

PAD_LOSSES = ("masked", "reference")
LOGITS_BYTES = 2**28  # of float32 logits that a loss makes at once for one batch, unless it is told otherwise


def causal_lm(
    params: Any,
    config: models.Config,
    batch: Batch,
    key: jax.Array | None = None,
    *,
    pad_loss: str = "masked",
    remat: bool = False,
    chunk: int | None = None,
) -> jax.Array:
    """Mean negative log-likelihood, in nats, of the target tokens given their prefixes: float32 `[]`.

    batch: see the module. Without `"loss_mask"` the targets are the tokens of `"mask"`; with it they are its True
    tokens, pads included, so that an end-of-text pad can be learnt. The first token of a row is never a target. Rows
    that are all padding contribute nothing, and no targets at all give 0.
    pad_loss: "reference" reproduces SEAL's released code, in which every pad is a target too (pad with the end-of-text
    token and leave it out of `"mask"`): the mean runs over all T - 1 tokens, while pads stay hidden as keys and their
    positions go on counting. It needs right-padded rows and ignores `"loss_mask"`.
    remat: recompute each layer in the backward pass. chunk: see `token_log_probs`.
    """
    tokens, mask = batch["tokens"], batch["mask"]
    positions = None
    if pad_loss == "reference":
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[-1], dtype=jnp.int32), tokens.shape)
    chosen = target_mask(batch, pad_loss)
    log_probs = token_log_probs(params, config, tokens, mask, positions=positions, remat=remat, chunk=chunk)
    return -jnp.where(chosen, log_probs, 0.0).sum() / jnp.maximum(chosen.sum(dtype=jnp.float32), 1.0)


def target_mask(batch: Batch, pad_loss: str = "masked") -> jax.Array:
    """The tokens whose prediction `causal_lm` averages: bool `[B, T]`. ValueError for an unknown `pad_loss`."""
    tokens, mask = batch["tokens"], batch["mask"]
    if pad_loss not in PAD_LOSSES:
        raise ValueError(f"pad_loss={pad_loss!r} is not one of {', '.join(map(repr, PAD_LOSSES))}")
    real = mask.any(axis=-1, keepdims=True)
    if pad_loss == "reference":
        chosen = jnp.broadcast_to(real, tokens.shape)
    else:
        chosen = batch.get("loss_mask", mask) & real
    return chosen.at[:, 0].set(False)


class LmLoss(NamedTuple):
    """`causal_lm` with its options bound; equal options are equal objects, so no loop recompiles because of them."""

    pad_loss: str = "masked"
    remat: bool = False
    chunk: int | None = None

    def __call__(self, params: Any, config: models.Config, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """The loss of one batch, float32 `[]`."""
        return causal_lm(params, config, batch, key, **self._asdict())

    def weight(self, batch: Batch) -> jax.Array:
        """What the mean of a part of a batch counts for in the mean of the whole: its targets, float32 `[]`."""
        return target_mask(batch, self.pad_loss).sum(dtype=jnp.float32)


def lm_loss(pad_loss: str = "masked", remat: bool = False, chunk: int | None = None) -> LmLoss:
    """The loss that `finetune` takes: `causal_lm` with these options."""
    return LmLoss(pad_loss, remat, chunk)


def token_log_probs(
    params: Any,
    config: models.Config,
    tokens: jax.Array,
    mask: jax.Array | None = None,
    *,
    positions: jax.Array | None = None,
    remat: bool = False,
    chunk: int | None = None,
) -> jax.Array:
    """Log-probability, in nats, of each token given its prefix: float32 `[B, T]`, 0 for the first column.

    tokens int32 `[B, T]`, mask bool `[B, T]` (True = real). Entries at pads, and at the first real token of a
    left-padded row, are finite and meaningless: select with a mask. positions: int32 `[B, T]`, default by the mask.
    chunk: columns whose logits `[B, chunk, V]` exist at once, in the backward pass as well, where they are computed
    again; by default all T of them, or as many as `LOGITS_BYTES` allow. (Under `vmap` B is the batch of one item.)
    """
    hidden = models.hidden_states(params, config, tokens, mask, positions=positions, remat=remat)
    # Position t predicts token t + 1. Rolling keeps T, and with it aligned shapes, at the price of one unused column.
    following = jnp.roll(tokens, -1, axis=-1)
    score = partial(_chosen_log_probs, params, config)
    log_probs = by_columns(score, (hidden, following), config.vocab_size, chunk)
    return jnp.pad(log_probs[:, :-1], ((0, 0), (1, 0)))


def by_columns(
    score: Callable[..., Any], arrays: tuple[jax.Array, ...], vocabulary: int, chunk: int | None = None
) -> Any:
    """`score(*arrays)`, a tree of arrays `[B, T, ...]` like its arguments, with logits of `chunk` columns at once.

    score: makes logits of width `vocabulary` and must treat each column by itself. It is computed again in the backward
    pass where there is more than one chunk. chunk: by default T, or as many columns as `LOGITS_BYTES` allow.
    """
    rows, length = arrays[0].shape[:2]
    chunk = _chunk((rows, length), vocabulary) if chunk is None else chunk
    if chunk >= length:
        return score(*arrays)
    parts = tuple(_columns(x, chunk) for x in arrays)
    found = jax.lax.map(lambda part: jax.checkpoint(score)(*part), parts)
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(rows, -1, *x.shape[3:])[:, :length], found)


def _chosen_log_probs(params: Any, config: models.Config, hidden: jax.Array, targets: jax.Array) -> jax.Array:
    logits = models.unembed(params, config, hidden)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def _chunk(shape: tuple[int, ...], vocabulary: int) -> int:
    """The largest power of two of columns whose float32 logits fit `LOGITS_BYTES`; T if all of them do."""
    rows, length = shape
    fits = max(LOGITS_BYTES // (4 * rows * vocabulary), 1)
    return length if fits >= length else 1 << (fits.bit_length() - 1)


def _columns(x: jax.Array, chunk: int) -> jax.Array:
    """`[B, T, ...]` -> `[ceil(T / chunk), B, chunk, ...]`, the last filled up with zeros."""
    rows, length, *rest = x.shape
    x = jnp.pad(x, [(0, 0), (0, -length % chunk)] + [(0, 0)] * len(rest))
    return jnp.moveaxis(x.reshape(rows, -1, chunk, *rest), 1, 0)
