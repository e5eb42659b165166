"""Values of the texts that a search has judged already."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

SEEDS = (0x9E3779B9, 0x85EBCA6B)


class Memo(NamedTuple):
    """The last C texts of each slot.

    code: uint32 `[B, C, 2]`; value: float32 `[B, C]`; count: int32 `[B]`, of all so far.
    """

    code: jax.Array
    value: jax.Array
    count: jax.Array


def empty_memo(batch: int, size: int) -> Memo:
    """Memories of `size` texts each that hold none."""
    return Memo(
        jnp.zeros((batch, size, 2), jnp.uint32), jnp.zeros((batch, size), jnp.float32), jnp.zeros(batch, jnp.int32)
    )


def codes(tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """64 bits for each text, uint32 `[B, 2]`, of tokens int32 `[B, T]` where mask bool `[B, T]`, real ones first."""
    place = jnp.arange(1, tokens.shape[1] + 1, dtype=jnp.uint32)[None]

    def code(seed: int) -> jax.Array:
        mixed = _mix(_mix(tokens.astype(jnp.uint32) + jnp.uint32(seed)) ^ (place * jnp.uint32(0xC2B2AE35)))
        return _mix(jnp.where(mask, mixed, jnp.uint32(0)).sum(axis=-1, dtype=jnp.uint32))

    return jnp.stack([code(seed) for seed in SEEDS], axis=-1)


def look_up(memo: Memo, code: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether texts of codes uint32 `[B, 2]` are known, bool `[B]`, and their values, 0 where not."""
    size = memo.value.shape[1]
    held = jnp.arange(size)[None] < memo.count[:, None]
    same = jnp.all(memo.code == code[:, None], axis=-1) & held
    return same.any(-1), jnp.where(same, memo.value, 0.0).max(-1) + jnp.where(same, memo.value, 0.0).min(-1)


def remember(memo: Memo, code: jax.Array, value: jax.Array, where: jax.Array) -> Memo:
    """Keep values float32 `[B]` of new texts where bool `[B]`, in place of the oldest."""
    size = memo.value.shape[1]
    rows, at = jnp.arange(len(value)), jnp.where(where, memo.count % size, size)
    return Memo(
        memo.code.at[rows, at].set(code, mode="drop"),
        memo.value.at[rows, at].set(value, mode="drop"),
        memo.count + where.astype(jnp.int32),
    )


def _mix(x: jax.Array) -> jax.Array:
    """The last step of MurmurHash3, on uint32."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
