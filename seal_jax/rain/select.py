"""The way down: scores, the choice of a child, and where a node needs one more before it can be chosen from."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.rain.batched import batched
from seal_jax.rain.settings import Settings
from seal_jax.rain.tree import NONE, TIE, Tree

ZERO_VALUE = 5e-7  # a mean of float32 values that cancel can come out as far below 0 as this, and is 0
SPREAD = 2 + 1e-5  # of values, as the released code divides by it


class Cursor(NamedTuple):
    """How far a descent has come.

    node: int32 `[]`. slot: int32 `[]`, the child of it that was chosen and has no visits, -1 if the node itself is the
    leaf. waiting: bool `[]`, the node is to be widened first. done: bool `[]`, a leaf was reached.
    """

    node: jax.Array
    slot: jax.Array
    waiting: jax.Array
    done: jax.Array


def first_largest(values: jax.Array, allowed: jax.Array) -> jax.Array:
    """Where the largest of the allowed `[K]` is, int32 `[]`; the first of those that differ by rounding alone."""
    values = jnp.where(allowed, values, -jnp.inf)
    return jnp.argmax(equals_best(values)).astype(jnp.int32)


def equals_best(values: jax.Array) -> jax.Array:
    """Which of `[K]` are the largest but for rounding, bool."""
    best = values.max()
    return values >= best - TIE * jnp.maximum(1.0, jnp.abs(best))


def children_of(tree: Tree, node: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Of a node's slots `[K]`: are they children, are these visited, visits and values (0 without visits)."""
    nodes = tree.child_node[node]
    visited = nodes >= 0
    real = jnp.arange(len(nodes)) < tree.child_count[node]
    zero = jnp.zeros((), jnp.float32)
    return real, visited, jnp.where(visited, tree.visits[nodes], zero), jnp.where(visited, tree.value[nodes], zero)


def scores_of(settings: Settings, tree: Tree, node: jax.Array) -> jax.Array:
    """`scores` of one tree."""
    real, visited, visits, values = children_of(tree, node)
    if settings.score == "paper":
        worth, total = values, visits.sum()
    else:
        worth, total = jnp.where(visited, (values + 1) / SPREAD, 0.0), tree.visits[node]
    explored = settings.c_puct * tree.child_prior[node] * jnp.sqrt(total) / (1 + visits)
    return jnp.where(real, worth + explored, -jnp.inf)


@batched
def scores(settings: Settings, tree: Tree, node: jax.Array) -> jax.Array:
    """Scores float32 `[B, K]` of the children of a node int32 `[B]`; -inf where there is none."""
    return scores_of(settings, tree, node)


def variance_norm(embeddings: jax.Array, real: jax.Array) -> jax.Array:
    """Norm of the elementwise unbiased variance of the real ones of embeddings `[K, E]`; NaN for fewer than two."""
    weight = real.astype(jnp.float32)[:, None]
    count = weight.sum()
    mean = (weight * embeddings).sum(0) / count
    squares = (weight * jnp.square(embeddings - mean[None])).sum(0)
    return jnp.linalg.norm(squares / jnp.where(count > 1, count - 1, jnp.nan))


def needs_widening_of(settings: Settings, tree: Tree, node: jax.Array) -> jax.Array:
    """`needs_widening` of one tree."""
    if not settings.widening:
        return jnp.zeros((), bool)
    real, _, _, values = children_of(tree, node)
    embeddings = jnp.where(real[:, None], tree.embedding[tree.child_node[node]], 0.0)
    limit = settings.widening_coefficient * settings.set_length(tree.step[node]).astype(jnp.float32)
    bad = jnp.where(real, values, -1.0).max() < -ZERO_VALUE  # without a visit a child's value is 0, which is not bad
    room = tree.child_count[node] < settings.max_children
    return room & bad & (variance_norm(embeddings, real) < limit)


@batched
def needs_widening(settings: Settings, tree: Tree, node: jax.Array) -> jax.Array:
    """Whether a node int32 `[B]` gets one more child before one is chosen: bool `[B]`.

    It does if it has two or more, yet has room, all are visited and bad (values below 0), and their embeddings are
    alike.
    """
    return needs_widening_of(settings, tree, node)


def at_root(tree: Tree) -> Cursor:
    """Where every descent begins."""
    none = jnp.zeros(tree.root.shape, bool)
    return Cursor(tree.root, jnp.full(tree.root.shape, NONE, jnp.int32), waiting=none, done=none)


@batched
def descend(settings: Settings, tree: Tree, cursor: Cursor, where: jax.Array) -> Cursor:
    """Go down from the cursor, in the trees where bool `[B]`, to a leaf or to a node that is to be widened.

    A cursor that waits goes on from its node, whatever was added to it.
    """

    def step(state: tuple[Cursor, jax.Array]) -> tuple[Cursor, jax.Array]:
        at, was_waiting = state
        leaf = tree.child_count[at.node] == 0
        waiting = ~was_waiting & ~leaf & needs_widening_of(settings, tree, at.node)
        values = scores_of(settings, tree, at.node)
        slot = first_largest(values, values > -jnp.inf)
        child = tree.child_node[at.node, slot]
        stays = leaf | waiting | (child < 0)
        unvisited = stays & ~leaf & ~waiting
        moved = Cursor(
            node=jnp.where(stays, at.node, child),
            slot=jnp.where(unvisited, slot, NONE),
            waiting=waiting,
            done=leaf | unvisited,
        )
        return moved, jnp.zeros((), bool)

    def moving(state: tuple[Cursor, jax.Array]) -> jax.Array:
        return where & ~state[0].done & ~state[0].waiting

    resumed = cursor._replace(waiting=cursor.waiting & ~where)
    return jax.lax.while_loop(moving, step, (resumed, cursor.waiting))[0]


@batched
def enter(settings: Settings, tree: Tree, cursor: Cursor, where: jax.Array) -> tuple[Tree, jax.Array]:
    """The leaf that a finished descent chose, int32 `[B]`: a new node for a child without visits, in the trees where.

    A tree that is full reports it in `overflow`, and the leaf is then the parent: its search is to be dropped.
    """
    del settings
    wanted = where & (cursor.slot >= 0)
    made = wanted & ~tree.used.all()
    leaf = jnp.where(made, jnp.argmin(tree.used).astype(jnp.int32), cursor.node)
    at = jnp.where(made, leaf, tree.used.size)  # out of bounds: nothing is written

    def put(field: jax.Array, value: jax.Array | float | bool) -> jax.Array:
        return field.at[at].set(value, mode="drop")

    fresh = tree._replace(
        used=put(tree.used, True),
        overflow=tree.overflow | (wanted & ~made),
        parent=put(tree.parent, cursor.node),
        slot=put(tree.slot, cursor.slot),
        step=put(tree.step, tree.step[cursor.node] + 1),
        key=put(tree.key, jax.random.fold_in(tree.key[cursor.node], cursor.slot)),
        visits=put(tree.visits, 0.0),
        true_visits=put(tree.true_visits, 0),
        value=put(tree.value, 0.0),
        embedding=put(tree.embedding, 0.0),
        terminal=put(tree.terminal, False),
        child_count=put(tree.child_count, 0),
        child_node=put(tree.child_node, NONE),
    )
    parent = jnp.where(made, cursor.node, tree.used.size)
    return fresh._replace(child_node=fresh.child_node.at[parent, cursor.slot].set(leaf, mode="drop")), leaf
