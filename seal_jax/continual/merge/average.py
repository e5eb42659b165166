"""Weights between weights: averages of several trees, of a stream of them, and with a share of its own per layer.

Trees are parameters or adapters of one structure. Everything is pure, traceable and linear in the trees; sums are
float32 and the result has the dtypes of the first tree. An average of LoRA factors is no average of what they stand
for: for adapters that were trained apart see `merge_adapters`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seal_jax.continual.merge.trees import check_alike, check_weights, layer_of, where

Scalar = jax.Array | float | int


def average(trees: Sequence[Any], weights: Sequence[Scalar] | None = None) -> Any:
    """`sum_k weights[k] trees[k]`, by default the mean. ValueError for trees or a number of weights that do not fit."""
    weights = check_weights(weights, len(trees), 1 / max(len(trees), 1))
    check_alike(trees[0], trees[1:])
    return jax.tree.map(lambda *leaves: _sum(weights, leaves), *trees)


def interpolate(base: Any, tuned: Any, share: Scalar) -> Any:
    """`share * base + (1 - share) * tuned`: share 1 is the base."""
    return average([base, tuned], [share, 1 - share])


def ema(mean: Any, params: Any, decay: Scalar) -> Any:
    """`decay * mean + (1 - decay) * params`, one step of an exponential moving average."""
    return interpolate(mean, params, decay)


def running_mean(mean: Any, params: Any, count: Scalar) -> Any:
    """The mean of `count` trees, given that of the first `count - 1` and the last: online merging after each task."""
    return interpolate(mean, params, 1 - 1 / count)


def hierarchical_alphas(logits: jax.Array, mean: Scalar, eps: float = 1e-3) -> jax.Array:
    """The base's share in each of K groups of layers, float32 `[K]`, of free numbers `[K]` and their given mean (HMA).

    `mean * K * (sigmoid(logits) + eps) / sum(sigmoid(logits) + eps)`: what is searched for are the logits, with the
    mean held. Shares above 1 are possible, and extrapolate.
    """
    raw = jax.nn.sigmoid(logits.astype(jnp.float32)) + eps
    return mean * raw / raw.mean()


def hierarchical(base: Any, tuned: Any, alphas: jax.Array) -> Any:
    """`interpolate` with a share of the base, `alphas [K]`, for each of K groups of consecutive layers.

    For parameters or adapters of a decoder, stacked or unrolled. Layer l of L is in group `l * K // L`; what comes
    before the layers, the embedding, is in the first group and what comes after them in the last. Equal alphas are
    `interpolate`. ValueError for a tree without layers.
    """
    check_alike(base, [tuned])
    flat = [(where(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(base)]
    layers = _layer_count(flat)
    groups = jnp.arange(layers) * len(alphas) // layers

    def one(path: tuple[Any, ...], old: jax.Array, new: jax.Array) -> jax.Array:
        layer = layer_of(name := where(path))
        if layer == "stacked":
            share = alphas[groups].reshape(-1, *[1] * (old.ndim - 1))
        elif isinstance(layer, int):
            share = alphas[groups[layer]]
        else:
            share = alphas[0 if name.startswith("embed") else -1]
        return _sum([share, 1 - share], [old, new])

    return jax.tree_util.tree_map_with_path(one, base, tuned)


def _layer_count(flat: Sequence[tuple[str, Any]]) -> int:
    found = [(layer_of(name), leaf) for name, leaf in flat]
    numbers = [layer + 1 if isinstance(layer, int) else len(leaf) for layer, leaf in found if layer is not None]
    if not numbers:
        raise ValueError("a share per layer needs a tree with layers, and this has none")
    return max(numbers)


def _sum(weights: Sequence[Any], leaves: Sequence[Any]) -> jax.Array:
    terms = [leaf.astype(jnp.float32) * weight for weight, leaf in zip(weights, leaves, strict=True)]
    return functools.reduce(jnp.add, terms).astype(leaves[0].dtype)
