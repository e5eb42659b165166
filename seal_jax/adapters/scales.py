"""What an SVF entry multiplies singular values by: the arithmetic of `z`, in float32 throughout.

bfloat16 has steps of 0.004 near z = 0.5, eight times what one optimizer step moves it by, so nothing here rounds to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from seal_jax.runtime.distributed import host

COMPOSITIONS = ("scaled", "plain")
FLOOR = 1e-5
"""The least |sum(s z)| / sum(s |z|) that is told from zero: below it, float32 sums of some thousand terms are noise."""


def z_of(entry: Mapping[str, jax.Array]) -> jax.Array:
    """The scale vector of an SVF entry, float32 `[..., k]`: `sigmoid(raw)`, or `z` as it is."""
    if "z" in entry:
        return entry["z"].astype(jnp.float32)
    return jax.nn.sigmoid(entry["raw"].astype(jnp.float32))


def shifts(z: jax.Array, s: jax.Array, compose: str = "scaled") -> jax.Array:
    """By what share each singular value changes: float32 `[..., k]` of z and s `[..., k]`; 0 leaves it as it is.

    "scaled": `z sum(s) / sum(s z) - 1`, computed from the differences of z, so that equal z give zeros to the last
    bit, whatever their value. A sum below `FLOOR` of what it could be (z of both signs) is held at that, so the result
    is always finite; `check` is what tells of it. "plain": `z - 1`.
    """
    if compose not in COMPOSITIONS:
        raise ValueError(f"compose={compose!r} is not one of {', '.join(map(repr, COMPOSITIONS))}")
    if compose == "plain":
        return z - 1.0
    s = s.astype(jnp.float32)
    # Only ratios of z matter, and a power of two changes no digit: small sums would be zero when squared in a gradient.
    z = jnp.where(jnp.abs(z).max(-1, keepdims=True) < 1e-6, z * 2.0**40, z)
    apart = z - z[..., :1]
    total, mixed = s.sum(-1, keepdims=True), (s * z).sum(-1, keepdims=True)
    least = _least(jax.lax.stop_gradient(z), s, total)
    mixed = jnp.where(jnp.abs(mixed) < least, jnp.where(mixed < 0, -least, least), mixed)
    return (total * apart - (s * apart).sum(-1, keepdims=True)) / mixed


def _least(z: jax.Array, s: jax.Array, total: jax.Array) -> jax.Array:
    """What a sum(s z) is held at: positive, and large enough that it can be divided by, squared."""
    could = (s * jnp.abs(z)).sum(-1, keepdims=True)  # zero where only directions with s = 0 are left
    least = FLOOR * could + 1e-10 * total * jnp.maximum(jnp.abs(z).max(-1, keepdims=True), 1.0)
    return jnp.where(least > 0, least, 1.0)


def scales(z: jax.Array, s: jax.Array, compose: str = "scaled") -> jax.Array:
    """What multiplies the singular values: float32 `[..., k]` of z and singular values `[..., k]`.

    "scaled" is `z sum(s) / sum(s z)`, which keeps the sum of singular values and does not depend on the size of z (for
    equal z, zero included, it is 1); "plain" is z.
    """
    return z if compose == "plain" else 1.0 + shifts(z, s, compose)


def check(adapter: Mapping[str, Mapping[str, Any]], factors: Any, compose: str = "scaled") -> None:
    """Raise ValueError, naming matrix, layer and adapter, where "scaled" divides by a sum(s z) that vanishes.

    adapter: entries `[..., L, k]`, any leading axes. Looks at values, so it does nothing while they are traced; there
    `shifts` is finite by its own rule. Entries that are not SVF, and z that are not numbers, are left alone.
    """
    if compose != "scaled" or factors is None:
        return
    entries = {
        path: ({name: entry[name] for name in ("raw", "z") if name in entry}, factors[path]["s"])
        for path, entry in adapter.items()
        if path in factors and entry.keys() & {"raw", "z"}
    }
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(entries)):
        return
    for path, ratios in host(_ratios(entries)).items():
        places = np.argwhere(ratios < FLOOR)
        if len(places):
            *adapters, layer = places[0].tolist() or [0]
            where = f" of adapter {adapters[-1]}" if adapters else ""
            raise ValueError(
                f"{path}: in layer {layer}{where} the sum of s * z is {ratios[tuple(places[0])]:.1e} of the sum of "
                f"s * |z|, too near zero to divide by: use z of one sign, or compose='plain'"
            )


@jax.jit
def _ratios(entries: Any) -> Any:
    """|sum(s z)| / sum(s |z|) of every matrix, `[..., L]`; 1 where all z are equal."""

    def ratio(entry: Mapping[str, jax.Array], s: jax.Array) -> jax.Array:
        z = z_of(entry)
        s = jnp.broadcast_to(s.astype(jnp.float32), z.shape)
        found = jnp.abs((s * z).sum(-1)) / jnp.maximum((s * jnp.abs(z)).sum(-1), jnp.finfo(jnp.float32).tiny)
        return jnp.where((z == z[..., :1]).all(-1), 1.0, found)

    return {path: ratio(*entry) for path, entry in entries.items()}
