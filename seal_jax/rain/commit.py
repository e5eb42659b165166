"""When enough was searched, and the set that then becomes part of the text."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.rain.batched import batched
from seal_jax.rain.expand import mixed
from seal_jax.rain.select import children_of, equals_best, first_largest
from seal_jax.rain.settings import Settings
from seal_jax.rain.tree import NONE, TIE, Tree


class Committed(NamedTuple):
    """Trees after a commit, and what was committed.

    tokens: int32 `[S]`, -1 beyond length int32 `[]`, 0 where nothing was. node: int32 `[]`, the root, whose page holds
    what the model remembers of these tokens.
    """

    tree: Tree
    tokens: jax.Array
    length: jax.Array
    node: jax.Array


def most_visited_of(tree: Tree) -> jax.Array:
    """`most_visited` of one tree."""
    real, _, visits, values = children_of(tree, tree.root)
    most = equals_best(jnp.where(real, visits, -jnp.inf)) & real
    return jnp.where(real.any(), first_largest(values, most), NONE)


@batched
def most_visited(settings: Settings, tree: Tree) -> jax.Array:
    """The slot int32 `[B]` of the root's child with most visits, parts included; of equals the best; -1 without any."""
    del settings
    return most_visited_of(tree)


def early_stop_of(settings: Settings, tree: Tree) -> jax.Array:
    """`early_stop` of one tree."""
    best = most_visited_of(tree)
    node = jnp.where(best >= 0, tree.child_node[tree.root, best], NONE)
    sure = (tree.true_visits[node] > settings.min_visits) & (tree.value[node] > settings.value_threshold + TIE)
    return (node >= 0) & sure


@batched
def early_stop(settings: Settings, tree: Tree) -> jax.Array:
    """Whether the most visited child has more than `min_visits` true visits and a value above the threshold: `[B]`."""
    return early_stop_of(settings, tree)


def searches_left_of(settings: Settings, tree: Tree) -> jax.Array:
    """`searches_left` of one tree."""
    most = jnp.maximum(settings.max_searches, tree.start + settings.floor_searches)
    return jnp.maximum(most - tree.true_visits[tree.root], 0)


@batched
def searches_left(settings: Settings, tree: Tree) -> jax.Array:
    """Searches that are allowed until the next commit, int32 `[B]`.

    Before the first of a phase, `max(max_searches, i + floor_searches) - i`, with i visits of the root so far.
    """
    return searches_left_of(settings, tree)


@batched
def should_stop(settings: Settings, tree: Tree) -> jax.Array:
    """Whether to commit after a search, bool `[B]`: the best child is sure, no search is left, or the tree is full."""
    return early_stop_of(settings, tree) | (searches_left_of(settings, tree) == 0) | tree.used.all()


def below(tree: Tree, node: jax.Array) -> jax.Array:
    """Which of the used nodes are a node or below it, bool `[N]`."""
    size = tree.used.size
    inside = jnp.arange(size) == node
    up = jnp.where(tree.parent >= 0, tree.parent, jnp.arange(size))
    for _ in range(max(size - 1, 1).bit_length()):  # each round looks twice as far up
        inside, up = inside | inside[up], up[up]
    return inside & tree.used


def reroot(settings: Settings, tree: Tree, node: jax.Array) -> Tree:
    """The tree below a node alone, its statistics as they are, the priors of its children mixed as a root's are."""
    real = jnp.arange(settings.max_children) < tree.child_count[node]
    return tree._replace(
        used=below(tree, node),
        root=node,
        start=tree.true_visits[node],
        parent=tree.parent.at[node].set(NONE),
        child_prior=tree.child_prior.at[node].set(mixed(settings, tree.child_prior[node], real)),
    )


@batched
def commit(settings: Settings, tree: Tree, where: jax.Array) -> Committed:
    """Make the root's most visited child the root, in the trees where bool `[B]`; the nodes outside are free again.

    A root without a visited child stays. `overflow` becomes True where the tree was full and the search not over.
    """
    slot = most_visited_of(tree)
    node = tree.child_node[tree.root, jnp.maximum(slot, 0)]
    moves = where & (slot >= 0) & (node >= 0)
    over = early_stop_of(settings, tree) | (searches_left_of(settings, tree) == 0)
    kept = tree._replace(overflow=tree.overflow | (where & tree.used.all() & ~over))
    new = reroot(settings, kept, jnp.where(moves, node, tree.root))
    small = {"used", "root", "start", "parent", "child_prior"}
    chosen = {name: jnp.where(moves, getattr(new, name), getattr(kept, name)) for name in small}
    return Committed(
        tree=kept._replace(**chosen),
        tokens=jnp.where(moves, tree.child_tokens[tree.root, slot], NONE),
        length=jnp.where(moves, tree.child_length[tree.root, slot], 0),
        node=jnp.where(moves, node, tree.root),
    )
