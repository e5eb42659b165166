"""LoRA adapters of one base merged into one, by what they add to the weights and not by their factors."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from seal_jax.adapters import Adapter
from seal_jax.continual.merge.task_vectors import Sign, combine, dropped, elected, trimmed
from seal_jax.continual.merge.trees import check_weights

Method = Literal["linear", "ties", "dare", "dare_ties"]
METHODS: tuple[str, ...] = get_args(Method)


class Merged(NamedTuple):
    """An adapter that stands for several.

    adapter: `{path: {"a" [L, in, r], "b" [L, r, out], "scale" [L]}}`, scales 1; kept: for each path the share of the
    merged change, in squared norm, that its rank holds, float32 `[]`, 1 where nothing was cut.
    """

    adapter: Adapter
    kept: dict[str, Any]


def merge_adapters(
    adapters_: Sequence[Adapter],
    method: Method = "linear",
    weights: Sequence[float] | None = None,
    *,
    rank: int | None = None,
    density: float = 0.5,
    sign: Sign = "total",
    key: jax.Array | None = None,
) -> Merged:
    """One adapter for several of the same base, which may differ in rank and in the kernels they adapt.

    method: "linear", the weighted sum of their products a @ b * scale, by default the mean; exact, as factors side by
    side, whose ranks add up, unless `rank` is less. "ties" (weights 1 by default), "dare", "dare_ties": as in
    `task_vectors`, on the products, of which the `rank` largest singular directions are kept, by default as many as the
    largest adapter has. density, sign: as there; key: of the random drops. The products of one kernel at a time exist.
    Raises ValueError for adapters or weights that do not fit together.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r} is not one of {', '.join(METHODS)}")
    weights = check_weights(weights, len(adapters_), 1.0 if method.endswith("ties") else 1 / max(len(adapters_), 1))
    if rank is not None and rank < 1:
        raise ValueError(f"rank={rank}: use 1 or more")
    _check_density_and_key(method, density, key)
    found, kept = {}, {}
    for path in sorted({path for adapter in adapters_ for path in adapter}):
        entries = [(k, adapter[path]) for k, adapter in enumerate(adapters_) if path in adapter]
        _check_entries(path, entries)
        chosen = [weights[k] for k, _ in entries]
        if method == "linear":
            a, b, share = _concatenated([e for _, e in entries], chosen, rank)
        else:
            most = rank or max(e["a"].shape[-1] for _, e in entries)
            products = [_product(e) for _, e in entries]
            if method.startswith("dare"):
                drops = [_drop_key(key, k, path) for k, _ in entries]
                products = [dropped({path: p}, density, d)[path] for p, d in zip(products, drops, strict=True)]
            if method == "ties":
                products = [trimmed({path: p}, density)[path] for p in products]
            merged = combine(products, chosen) if method == "dare" else elected(products, chosen, sign)
            a, b, share = _truncated(merged, most)
        found[path] = {"a": a, "b": b, "scale": jnp.ones(a.shape[:-2], jnp.float32)}
        kept[path] = share
    return Merged(found, kept)


def flattened(adapter: Adapter) -> Adapter:
    """An adapter that holds frozen factors beneath the trained ones (`projections.room`) as a plain one of their ranks.

    `a` is `[held_a, a]` and `b` `[held_b, b * scale]`, scales are 1; held columns that are empty stay, as zeros.
    """
    found = {}
    for path, entry in adapter.items():
        if "held_a" in entry:
            b = entry["b"] * entry["scale"][..., None, None]
            a, b = (
                jnp.concatenate([entry[f"held_{n}"], x], axis) for n, x, axis in (("a", entry["a"], -1), ("b", b, -2))
            )
            entry = {"a": a, "b": b, "scale": jnp.ones_like(entry["scale"])}
        found[path] = entry
    return found


def _check_density_and_key(method: str, density: float, key: jax.Array | None) -> None:
    if not 0 < density <= 1:
        raise ValueError(f"density={density}: the share of numbers that are kept is in (0, 1]")
    if method.startswith("dare") and key is None:
        raise ValueError(f"method={method!r} drops at random: give it a key")


def _check_entries(path: str, entries: Sequence[tuple[int, Any]]) -> None:
    for index, entry in entries:
        if entry.keys() != {"a", "b", "scale"}:
            raise ValueError(f"adapter {index}, {path}: LoRA with a, b and scale is needed, not {', '.join(entry)}")
    shapes = {(*e["a"].shape[:-1], e["b"].shape[-1]) for _, e in entries}
    if len(shapes) > 1:
        raise ValueError(f"{path}: adapters of kernels {' and '.join(map(str, sorted(shapes)))}: not of one base")


def _product(entry: Any) -> jax.Array:
    a, b = (entry[name].astype(jnp.float32) for name in "ab")
    return jnp.matmul(a, b * entry["scale"][..., None, None])


def _concatenated(
    entries: Sequence[Any], weights: Sequence[Any], rank: int | None
) -> tuple[jax.Array, jax.Array, jax.Array | float]:
    a = jnp.concatenate([e["a"].astype(jnp.float32) for e in entries], -1)
    scales = [e["scale"][..., None, None] * w for e, w in zip(entries, weights, strict=True)]
    b = jnp.concatenate([e["b"].astype(jnp.float32) * s for e, s in zip(entries, scales, strict=True)], -2)
    if rank is None or rank >= a.shape[-1]:
        return a, b, 1.0
    left, upper = jnp.linalg.qr(a)
    right, lower = jnp.linalg.qr(jnp.swapaxes(b, -1, -2))
    small_a, small_b, share = _truncated(upper @ jnp.swapaxes(lower, -1, -2), rank)
    return left @ small_a, small_b @ jnp.swapaxes(right, -1, -2), share


def _truncated(product: jax.Array, rank: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Factors `[L, in, r]`, `[L, r, out]` of the largest singular directions of each layer, and the share they hold."""
    u, s, vt = jax.lax.map(lambda x: jnp.linalg.svd(x, full_matrices=False), product)
    root = jnp.sqrt(s[..., :rank])
    share = jnp.square(s[..., :rank]).sum() / jnp.maximum(jnp.square(s).sum(), jnp.finfo(jnp.float32).tiny)
    return u[..., :rank] * root[..., None, :], root[..., None] * vt[..., :rank, :], share


def _drop_key(key: jax.Array | None, index: int, path: str) -> jax.Array:
    assert key is not None
    return jax.random.fold_in(jax.random.fold_in(key, index), zlib.crc32(path.encode()))
