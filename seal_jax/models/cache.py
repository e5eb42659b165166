"""The key/value cache of a batch of sequences that grow in step."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.models.config import Config


class Shared(NamedTuple):
    """Keys and values of P slots that many rows continue and none writes: G sequences for B rows, B / G rows each.

    Fields as in `Cache`, with G in place of B: row i of the cache continues sequence `i // (B / G)`.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    positions: jax.Array
    valid: jax.Array


class Cache(NamedTuple):
    """Keys and values of S slots. All rows write the same slots; a padded slot is simply not `valid`.

    keys, values: one `[B, kv_heads, S, head_dim]` array per layer, heads first so that a step of decoding multiplies
    them where they lie; positions: int32 `[B, S]`; valid: bool `[B, S]`; index: int32 `[]`, the next slot to write;
    shared: what comes before those slots and is stored once for several rows, first part first.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    positions: jax.Array
    valid: jax.Array
    index: jax.Array
    shared: tuple[Shared, ...] = ()

    def shared_slots(self, layer: int) -> tuple[tuple[jax.Array, jax.Array], ...]:
        """Keys and values of one layer in each shared part."""
        return tuple((part.keys[layer], part.values[layer]) for part in self.shared)


def init_cache(config: Config, batch: int, slots: int, dtype: jnp.dtype | str = jnp.float32) -> Cache:
    """An empty cache for `batch` sequences of up to `slots` tokens, pads included."""
    shape = (batch, config.num_kv_heads, slots, config.head_dim)
    layers = range(config.num_layers)
    return Cache(
        keys=tuple(jnp.zeros(shape, dtype) for _ in layers),
        values=tuple(jnp.zeros(shape, dtype) for _ in layers),
        positions=jnp.zeros((batch, slots), jnp.int32),
        valid=jnp.zeros((batch, slots), bool),
        index=jnp.zeros((), jnp.int32),
    )


def write(slots: jax.Array, new: jax.Array, index: jax.Array) -> jax.Array:
    """Put `new` `[B, T]` into `slots` `[B, S]`, or `[B, T, K, d]` into `[B, K, S, d]`, at slot `index`."""
    if new.ndim == 4:
        new = new.swapaxes(1, 2)
    return jax.lax.dynamic_update_slice_in_dim(slots, new.astype(slots.dtype), index, axis=slots.ndim // 2)


def key_slots(cache: Cache) -> tuple[jax.Array, jax.Array]:
    """Positions int32 and validity bool `[B, P + S]` of all slots that a row sees, shared ones first."""
    rows = len(cache.valid)
    parts = [*cache.shared, cache]
    positions = [jnp.repeat(part.positions, rows // len(part.positions), axis=0) for part in parts]
    valid = [jnp.repeat(part.valid, rows // len(part.valid), axis=0) for part in parts]
    return jnp.concatenate(positions, axis=-1), jnp.concatenate(valid, axis=-1)
