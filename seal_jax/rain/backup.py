"""A value for everything on the way to a leaf, and in part for what is like it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seal_jax.rain.batched import batched
from seal_jax.rain.path import Path, path_of
from seal_jax.rain.settings import Settings
from seal_jax.rain.tree import Tree


def cosines(one: jax.Array, many: jax.Array) -> jax.Array:
    """Cosines `[K]` of the angles between `[E]` and `[K, E]`."""
    norms = jnp.linalg.norm(one) * jnp.linalg.norm(many, axis=-1)
    return (many * one[None]).sum(-1) / jnp.maximum(norms, 1e-8)


def mean_embeddings(tree: Tree, nodes: jax.Array, at: jax.Array, embeddings: jax.Array) -> jax.Array:
    """The trees' embeddings `[N, E]` after one more visit of nodes `[D]`, whose visits are counted already."""
    count = jnp.maximum(tree.true_visits[nodes], 1).astype(jnp.float32)[:, None]
    old = tree.embedding[nodes]
    return tree.embedding.at[at].set(old + (embeddings - old) / count, mode="drop")


def similar_siblings(settings: Settings, tree: Tree, way: Path, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Visits and values `[N]` after those of the siblings of each node on the way that are like it.

    The siblings of one level are not on the way themselves, and no level has those of another.
    """

    def level(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        i, visits, values = state
        node = way.nodes[i]
        siblings = tree.child_node[tree.parent[node]]
        likeness = cosines(tree.embedding[node], tree.embedding[siblings])
        alike = (siblings >= 0) & (siblings != node) & (likeness >= settings.similarity_threshold)
        weight = settings.similarity_weight * likeness
        before = visits[siblings]
        at = jnp.where(alike, siblings, tree.used.size)  # out of bounds: nothing is written
        moved = (values[siblings] * before + weight * value) / jnp.maximum(before + weight, 1e-8)
        values = values.at[at].set(moved, mode="drop")
        return i + 1, visits.at[at].set(before + weight, mode="drop"), values

    first = (jnp.zeros((), jnp.int32), tree.visits, tree.value)
    return jax.lax.while_loop(lambda state: state[0] < way.count, level, first)[1:]


@batched
def backup(
    settings: Settings, tree: Tree, leaf: jax.Array, value: jax.Array, embeddings: jax.Array, where: jax.Array
) -> Tree:
    """Count a visit of a leaf int32 `[B]` with a value float32 `[B]` in -1 to 1, in the trees where bool `[B]`.

    embeddings: float32 `[B, D, E]`, for `path(...).nodes` in that order (the leaf first), of the text from the start of
    that node's set to the end of what was judged. A node's embedding is their mean over its visits. A sibling of a node
    on the path, whose mean is like the node's with the cosine c, gets a visit of weight `similarity_weight * c`.
    """
    way = path_of(settings, tree, leaf)
    way = Path(way.nodes, jnp.where(where, way.count, 0))
    outside = tree.used.size  # out of bounds: nothing is written
    at = jnp.where((way.nodes >= 0) & where, way.nodes, outside)
    visited = jnp.concatenate([at, jnp.where(where, tree.root, outside)[None]])
    tree = tree._replace(
        visits=tree.visits.at[visited].add(1.0, mode="drop"),
        true_visits=tree.true_visits.at[visited].add(1, mode="drop"),
    )
    tree = tree._replace(embedding=mean_embeddings(tree, way.nodes, at, embeddings))
    if settings.similarity:
        visits, values = similar_siblings(settings, tree, way, value)
        tree = tree._replace(visits=visits, value=values)
    share = (value - tree.value) / jnp.maximum(tree.visits, 1.0)
    on_way = jnp.zeros(outside, bool).at[visited].set(True, mode="drop")
    return tree._replace(value=jnp.where(on_way, tree.value + share, tree.value))
