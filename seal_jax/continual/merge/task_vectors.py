"""Merging by what tasks changed: task arithmetic (arXiv 2212.04089), TIES (2306.01708), DARE (2311.03099).

A task vector is a tuned tree minus the base. Trees are parameters of one structure, or any pytrees; differences and
sums are float32, and the result has the dtypes of the base. Stacked layers are tensors apart wherever something is
decided by tensor.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from seal_jax.continual.merge.trees import check_alike, check_weights, layer_of, where

Prune = Literal["tensor", "model"]
Sign = Literal["total", "frequency"]
Named = dict[str, jax.Array]
"""Task vectors by the path of the leaf, float32."""


def task_arithmetic(base: Any, tuned: Sequence[Any], weights: Sequence[Any] | None = None) -> Any:
    """`base + sum_k weights[k] (tuned[k] - base)`, by default with weights 1/K."""
    vectors, weights = _vectors(base, tuned), check_weights(weights, len(tuned), 1 / max(len(tuned), 1))
    return _added(base, {name: combine([v[name] for v in vectors], weights) for name in vectors[0]})


def ties(
    base: Any,
    tuned: Sequence[Any],
    weights: Sequence[Any] | None = None,
    *,
    density: float = 0.2,
    sign: Sign = "total",
    prune: Prune = "tensor",
) -> Any:
    """Trim, elect signs, merge: of each task vector the largest numbers, of them those of the sign that prevails.

    density: share of numbers that are kept, by magnitude, those that tie with the last one as well. prune: by "tensor",
    as in PEFT, or over the whole "model", as in the paper. sign: of the sum of what is kept ("total"), or of the
    greater number ("frequency"); a draw is positive. The numbers of that sign are multiplied by their task's weight
    (default 1), summed and divided by how many they are. Raises ValueError for a density outside (0, 1].
    """
    vectors, weights = _vectors(base, tuned), check_weights(weights, len(tuned), 1.0)
    pruned = [trimmed(v, density, prune) for v in vectors]
    return _added(base, {name: elected([v[name] for v in pruned], weights, sign) for name in vectors[0]})


def dare(
    base: Any,
    tuned: Sequence[Any],
    key: jax.Array,
    weights: Sequence[Any] | None = None,
    *,
    density: float = 0.5,
    then: Literal["linear", "ties"] = "linear",
    sign: Sign = "total",
) -> Any:
    """Drop and rescale: of each task vector a random share `density`, divided by it, which keeps the mean.

    then: "linear", `task_arithmetic` of what is left, or "ties", its signs elected and merged as `ties` does. Draws are
    a function of the key, the number of the task and the path. Raises ValueError for a density outside (0, 1].
    """
    vectors = _vectors(base, tuned)
    weights = check_weights(weights, len(tuned), 1.0 if then == "ties" else 1 / max(len(tuned), 1))
    kept = [dropped(v, density, jax.random.fold_in(key, k)) for k, v in enumerate(vectors)]
    names = vectors[0]
    if then == "ties":
        return _added(base, {name: elected([v[name] for v in kept], weights, sign) for name in names})
    return _added(base, {name: combine([v[name] for v in kept], weights) for name in names})


def combine(vectors: Sequence[jax.Array], weights: Sequence[Any]) -> jax.Array:
    """`sum_k weights[k] vectors[k]` of arrays of one shape."""
    return functools.reduce(jnp.add, [v * w for v, w in zip(vectors, weights, strict=True)])


def elected(vectors: Sequence[jax.Array], weights: Sequence[Any], sign: Sign) -> jax.Array:
    """The weighted mean of the numbers whose sign prevails, place by place of arrays of one shape; zeros never do."""
    signs = [jnp.sign(v) for v in vectors]
    prevails = jnp.where(functools.reduce(jnp.add, vectors if sign == "total" else signs) >= 0, 1.0, -1.0)
    matches = [s == prevails for s in signs]
    total = combine([jnp.where(m, v, 0.0) for m, v in zip(matches, vectors, strict=True)], weights)
    return total / jnp.maximum(functools.reduce(jnp.add, [m.astype(jnp.float32) for m in matches]), 1.0)


def trimmed(vectors: Named, density: float, prune: Prune = "tensor") -> Named:
    """The share `density` of largest numbers of each tensor, or of all tensors together; zeros elsewhere."""
    _check_density(density)
    if prune == "model":
        least = _threshold(list(vectors.values()), int(density * sum(v.size for v in vectors.values())))
        return {name: jnp.where(_bits(v) >= least, v, 0.0) for name, v in vectors.items()}

    def one(v: jax.Array) -> jax.Array:
        return jnp.where(_bits(v) >= _threshold([v], int(density * v.size)), v, 0.0)

    return {name: (jax.vmap(one) if layer_of(name) == "stacked" else one)(v) for name, v in vectors.items()}


def dropped(vectors: Named, density: float, key: jax.Array) -> Named:
    """Each number with probability `density`, divided by it; zeros elsewhere."""
    _check_density(density)

    def one(name: str, v: jax.Array) -> jax.Array:
        kept = jax.random.bernoulli(jax.random.fold_in(key, zlib.crc32(name.encode())), density, v.shape)
        return jnp.where(kept, v / density, 0.0)

    return {name: one(name, v) for name, v in vectors.items()}


def _vectors(base: Any, tuned: Sequence[Any]) -> list[Named]:
    check_alike(base, tuned)
    old = jax.tree_util.tree_leaves_with_path(base)
    pairs = [zip(old, jax.tree.leaves(tree), strict=True) for tree in tuned]
    return [{where(p): x.astype(jnp.float32) - b.astype(jnp.float32) for (p, b), x in of} for of in pairs]


def _added(base: Any, change: Named) -> Any:
    def one(path: tuple[Any, ...], old: jax.Array) -> jax.Array:
        return (old.astype(jnp.float32) + change[where(path)]).astype(old.dtype)

    return jax.tree_util.tree_map_with_path(one, base)


def _check_density(density: float) -> None:
    if not 0 < density <= 1:
        raise ValueError(f"density={density}: the share of numbers that are kept is in (0, 1]")


def _bits(x: jax.Array) -> jax.Array:
    """Magnitudes as integers of the same order: int32 like `x`."""
    return jax.lax.bitcast_convert_type(jnp.abs(x), jnp.int32)


def _threshold(tensors: Sequence[jax.Array], count: int) -> jax.Array:
    """The `count`-th largest of all magnitudes as `_bits`, int32 `[]`: by bisection, since weights are many to sort."""
    infinite = jnp.int32(0x7F800000)

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        # Numbers of a large model are more than int32 counts; float32 is exact to 16 million and close beyond.
        above = sum(((_bits(x) >= middle).sum(dtype=jnp.int32).astype(jnp.float32) for x in tensors), jnp.float32(0))
        enough = above >= float(count)
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    return jax.lax.fori_loop(0, 31, halve, (jnp.int32(0), infinite + 1))[0]
