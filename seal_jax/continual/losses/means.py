"""Means over what a mask chooses, and the terms that several losses of language models are made of."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seal_jax import models


def masked_mean(x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The mean of float `x` where bool `mask` of its shape is True (None: everywhere): float32 `[]`, 0 of nothing."""
    x = x.astype(jnp.float32)
    if mask is None:
        return x.mean()
    return jnp.where(mask, x, 0.0).sum() / jnp.maximum(mask.sum(dtype=jnp.float32), 1.0)


def chosen_log_probs(logits: jax.Array, ids: jax.Array) -> jax.Array:
    """Log-probability in nats of class `ids`, int `[...]`, under logits `[..., V]`: float32 `[...]`."""
    logits = logits.astype(jnp.float32)
    return jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0] - jax.nn.logsumexp(logits, axis=-1)


def hidden_and_next(params: Any, config: models.Config, batch: Any, remat: bool) -> tuple[jax.Array, jax.Array]:
    """Hidden states `[B, T, D]` of a batch, and the token after each: int32 `[B, T]`, without meaning in the last."""
    hidden = models.hidden_states(params, config, batch["tokens"], batch["mask"], remat=remat)
    return hidden, following(batch["tokens"])


following = partial(jnp.roll, shift=-1, axis=1)
"""What belongs to the token after each, `[B, T, ...]`: position t holds that of t + 1."""
