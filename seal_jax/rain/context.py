"""What comes before a node, in the forms that the parts of a round need."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.models import Shared
from seal_jax.rain.groups import Group
from seal_jax.rain.pages import Pages, Text, path_part
from seal_jax.rain.path import path
from seal_jax.rain.settings import Settings
from seal_jax.rain.tree import Tree


class Way(NamedTuple):
    """The nodes from below the root down to a node, int32 `[B, D]`, at the right end, and their token sets.

    tokens: int32 `[B, D, S]`, -1 beyond lengths int32 `[B, D]`, 0 where there is no node.
    """

    nodes: jax.Array
    tokens: jax.Array
    lengths: jax.Array

    @property
    def count(self) -> jax.Array:
        """Tokens of all sets, int32 `[B]`."""
        return self.lengths.sum(axis=-1)


def way_to(settings: Settings, tree: Tree, node: jax.Array) -> Way:
    """The way to node int32 `[B]` of each tree."""
    nodes = path(settings, tree, node).nodes[:, ::-1]
    trees = jnp.arange(len(node))[:, None]
    parent, slot = tree.parent[trees, nodes], tree.slot[trees, nodes]
    lengths = jnp.where(nodes >= 0, tree.child_length[trees, parent, slot], 0)
    return Way(nodes, tree.child_tokens[trees, parent, slot], lengths)


def of_nodes(field: jax.Array, node: jax.Array) -> jax.Array:
    """Rows `[B, ...]` of a field `[B, N, ...]` at node int32 `[B]`."""
    return field[jnp.arange(len(node)), node]


def last_state(tree: Tree, text: Text, pages: Pages, node: jax.Array) -> jax.Array:
    """The final hidden state of the last token before the children of node int32 `[B]`: `[B, H]`."""
    parent, slot = of_nodes(tree.parent, node), of_nodes(tree.slot, node)
    length = tree.child_length[jnp.arange(len(node)), parent, slot]
    own = pages.hidden[jnp.arange(len(node)), node, jnp.maximum(length - 1, 0)]
    return jnp.where((node == tree.root)[:, None], text.last, own)


def parts_before(text: Text, pages: Pages, way: Way, group: Group) -> tuple[Shared, Shared]:
    """The text so far and the ways of a group's slots, as what W rows continue."""
    mine: Way = group.take(way)
    start: jax.Array = group.take(text.prompt + text.count)
    return group.take(text.part), path_part(pages, group.slots, mine.nodes, mine.lengths, start)
