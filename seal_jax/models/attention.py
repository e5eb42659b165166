"""Grouped-query attention: the mask that makes it causal, and the product itself."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def positions_of(mask: jax.Array) -> jax.Array:
    """Position of each real token: int32 `[B, T]` from bool `[B, T]`, padded on either side; pads get 0 or more."""
    return jnp.maximum(jnp.cumsum(mask, axis=-1, dtype=jnp.int32) - 1, 0)


def causal_mask(
    query_positions: jax.Array, key_positions: jax.Array, key_valid: jax.Array, window: jax.Array | int | None
) -> jax.Array:
    """Which keys each query sees: bool `[B, 1, T, S]`.

    Compares positions (int32 `[B, T]` and `[B, S]`), not slots, so padding and cache layout do not matter.
    `window`: keys at most `window - 1` positions back are seen; None: all earlier ones.
    """
    distance = query_positions[:, :, None] - key_positions[:, None, :]
    seen = (distance >= 0) & key_valid[:, None, :]
    if window is not None:
        seen &= distance < window
    return seen[:, None]


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array,
    *,
    scale: float | None = None,
    softcap: float | None = None,
) -> jax.Array:
    """Softmax attention with float32 logits and weights.

    query `[B, T, H, d]`, key and value `[B, S, K, d]` with K dividing H, mask bool `[B, 1, T, S]` -> `[B, T, H, d]`.
    Logits are multiplied by `scale` (default: d ** -0.5) and, with a soft cap c, become c * tanh(logits / c).
    """
    return attend_cached(query, key.swapaxes(1, 2), value.swapaxes(1, 2), mask, scale=scale, softcap=softcap)


def attend_cached(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array,
    shared: Sequence[tuple[jax.Array, jax.Array]] = (),
    *,
    scale: float | None = None,
    softcap: float | None = None,
) -> jax.Array:
    """`attend` for keys and values as the cache keeps them, `[B, K, S, d]`: no copy of the cache is made.

    query `[B, T, H, d]`, mask bool `[B, 1, T, P + S]` -> `[B, T, H, d]`. shared: keys and values `[G, K, P, d]` that
    come before and serve B / G rows each; they are read once for those rows.
    """
    batch, length, heads, width = query.shape
    groups = key.shape[1]
    parts = (*shared, (key, value))
    query = query.reshape(batch, length, groups, heads // groups, width).transpose(0, 2, 3, 1, 4)
    folded = query.reshape(batch, groups, -1, width)
    logits = jnp.concatenate([_logits(folded, k) for k, _ in parts], axis=-1)
    logits = logits * (width**-0.5 if scale is None else scale)
    if softcap is not None:
        logits = softcap * jnp.tanh(logits / softcap)
    logits = logits.reshape(*query.shape[:-1], -1)
    logits = jnp.where(mask[:, :, None], logits, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype).reshape(batch, groups, -1, mask.shape[-1])
    ends = list(itertools.accumulate(v.shape[2] for _, v in parts))
    each = (_weighted(w, v) for w, (_, v) in zip(jnp.split(weights, ends[:-1], axis=-1), parts))
    y = functools.reduce(jnp.add, each).reshape(query.shape)
    return y.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, width)


def _logits(query: jax.Array, key: jax.Array) -> jax.Array:
    """`[B, K, M, d]` times `[G, K, P, d]` -> float32 `[B, K, M, P]`."""
    query, rows = _together(query, key)
    return _apart(
        jnp.einsum("bkmd,bksd->bkms", query, key.astype(query.dtype), preferred_element_type=jnp.float32), rows
    )


def _weighted(weights: jax.Array, value: jax.Array) -> jax.Array:
    """`[B, K, M, P]` times `[G, K, P, d]` -> `[B, K, M, d]`."""
    weights, rows = _together(weights, value)
    return _apart(jnp.einsum("bkms,bksd->bkmd", weights, value.astype(weights.dtype)), rows)


def _together(x: jax.Array, part: jax.Array) -> tuple[jax.Array, int]:
    """`[B, K, M, _]` -> `[G, K, rows * M, _]`, the rows that share a sequence of `part` under one another."""
    rows = len(x) // len(part)
    if rows == 1:
        return x, rows
    batch, groups, length, width = x.shape
    x = x.reshape(batch // rows, rows, groups, length, width).swapaxes(1, 2)
    return x.reshape(batch // rows, groups, rows * length, width), rows


def _apart(x: jax.Array, rows: int) -> jax.Array:
    """The inverse of `_together`."""
    if rows == 1:
        return x
    shared, groups, length, width = x.shape
    x = x.reshape(shared, groups, rows, length // rows, width).swapaxes(1, 2)
    return x.reshape(shared * rows, groups, length // rows, width)
