"""LLaMA Pro's block expansion (arXiv 2401.02415): new layers that are the identity at first, and alone trained."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.models import Config, Params

SILENT = ("o_proj", "down_proj")
"""What a layer adds to the residual stream goes through these: where they are zero, bias included, it adds nothing."""


class Expanded(NamedTuple):
    """A grown model, stacked or unrolled as the one it was made from. new: its new layers, ascending from 0."""

    params: Params
    config: Config
    new: tuple[int, ...]


def expand_blocks(params: Params, config: Config, groups: int, copies: int = 1) -> Expanded:
    """The model with `copies` new layers after each of `groups` equal groups of consecutive layers.

    A new layer is a copy of the last one of its group whose outputs of attention and of the MLP are zero, so the grown
    model computes what the model did, unrolled to the last bit, and the zeros have gradients. Any family of `models`.
    Of attention windows a config.json cannot express any order; `save_pretrained` says so where it cannot. LLaMA Pro
    grew 32 layers in 8 groups to 40.
    Raises ValueError unless groups divide the layers.
    """
    if groups < 1 or config.num_layers % groups:
        raise ValueError(f"groups={groups} does not divide the {config.num_layers} layers; use a divisor, as LLaMA Pro")
    if copies < 1:
        raise ValueError(f"copies={copies}: use 1 or more")
    size = config.num_layers // groups
    source = [layer for last in range(size - 1, config.num_layers, size) for layer in _group(last, size, copies)]
    new = tuple(i for i in range(len(source)) if i % (size + copies) >= size)
    windows = None if config.sliding_windows is None else tuple(config.sliding_windows[i] for i in source)
    grown = dataclasses.replace(config, num_layers=len(source), sliding_windows=windows)
    return Expanded(_grown(params, source, new), grown, new)


def frozen_old(params: Params, new: tuple[int, ...]) -> Any:
    """Which parameters are not of the new layers: the tree that `continual.freeze_mask` takes.

    A bool for each leaf, or for a stacked one `[L, 1, ...]`. For a tree that is unrolled it can also be the labels of
    `optax.partition`, which then keeps moments for the new layers alone.
    """
    layers = params["layers"]
    if isinstance(layers, tuple):
        kept = tuple(jax.tree.map(lambda _, i=i: i not in new, layer) for i, layer in enumerate(layers))
    else:
        kept = jax.tree.map(lambda x: ~_chosen(x, new), layers)
    return {**jax.tree.map(lambda _: True, {k: v for k, v in params.items() if k != "layers"}), "layers": kept}


def _group(last: int, size: int, copies: int) -> list[int]:
    return [*range(last - size + 1, last + 1), *[last] * copies]


def _grown(params: Params, source: list[int], new: tuple[int, ...]) -> Params:
    layers = params["layers"]
    if isinstance(layers, tuple):
        made = tuple(_silenced(layers[of]) if i in new else layers[of] for i, of in enumerate(source))
        return {**params, "layers": made}
    index = jnp.asarray(source)
    taken = jax.tree.map(lambda x: jnp.take(x, index, axis=0), layers)
    return {**params, "layers": _silenced(taken, lambda x: jnp.where(_chosen(x, new), jnp.zeros_like(x), x))}


def _silenced(layers: Any, zero: Any = jnp.zeros_like) -> Any:
    def one(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return zero(leaf) if {getattr(key, "key", None) for key in path} & set(SILENT) else leaf

    return jax.tree_util.tree_map_with_path(one, layers)


def _chosen(leaf: jax.Array, new: tuple[int, ...]) -> jax.Array:
    """Which entries of a stacked leaf are of the new layers: bool `[L, 1, ...]`."""
    return jnp.zeros(len(leaf), bool).at[jnp.asarray(new)].set(True).reshape(-1, *[1] * (leaf.ndim - 1))
