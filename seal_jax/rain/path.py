"""The way from the root to a leaf."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.rain.batched import batched
from seal_jax.rain.settings import Settings
from seal_jax.rain.tree import NONE, Tree


class Path(NamedTuple):
    """Nodes int32 `[D]` from the leaf up to the root's child, -1 beyond; count int32 `[]`, how many."""

    nodes: jax.Array
    count: jax.Array


def path_of(settings: Settings, tree: Tree, leaf: jax.Array) -> Path:
    """`path` of one tree."""

    levels = jnp.arange(settings.depth)
    count = tree.step[leaf] - tree.step[tree.root]
    nodes, up = jnp.broadcast_to(leaf, levels.shape), tree.parent
    for bit in range((settings.depth - 1).bit_length()):  # `up` is 2 ** bit steps up, and wrong above the root
        nodes = jnp.where((levels >> bit) & 1 == 1, up[nodes], nodes)
        up = up[up]
    return Path(jnp.where(levels < count, nodes, NONE), count)


@batched
def path(settings: Settings, tree: Tree, leaf: jax.Array) -> Path:
    """The nodes from a leaf int32 `[B]` up to the root, without the root, and how many they are."""
    return path_of(settings, tree, leaf)


@batched
def path_tokens(settings: Settings, tree: Tree, leaf: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tokens int32 `[B, D * S]` of the sets from the root to a leaf int32 `[B]`, -1 beyond their count int32 `[B]`."""
    nodes = path_of(settings, tree, leaf).nodes[::-1]
    there = nodes >= 0
    parent, slot = tree.parent[nodes], tree.slot[nodes]
    length = jnp.where(there, tree.child_length[parent, slot], 0)
    place = (jnp.cumsum(length) - length)[:, None] + jnp.arange(settings.longest)[None]
    place = jnp.where(jnp.arange(settings.longest)[None] < length[:, None], place, place.size)  # outside: dropped
    tokens = jnp.full(place.size, NONE, jnp.int32).at[place].set(tree.child_tokens[parent, slot], mode="drop")
    return tokens, length.sum()
