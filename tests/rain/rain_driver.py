"""One search of the array tree, with everything random given as input, and a look at the tree from outside."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.rain import Settings, backup, candidates, commit, expand, path, select, tree, widen
from seal_jax.rain.candidates import Candidates


class Given(NamedTuple):
    """What a search takes from elsewhere; every field has a leading batch axis.

    where: bool; drawn: Candidates `[D, K, S]`, by level; logits `[V]`; sets: Candidates; terminal: bool; value; and
    embeddings `[D, E]`, leaf first.
    """

    where: jax.Array
    drawn: Candidates
    logits: jax.Array
    sets: Candidates
    terminal: jax.Array
    value: jax.Array
    embeddings: jax.Array


class Searched(NamedTuple):
    """The tree, and what happened: scores `[N, K]` as the children were chosen; widened bool `[D]`, by level."""

    tree: tree.Tree
    leaf: jax.Array
    tokens: jax.Array
    count: jax.Array
    scores: jax.Array
    widened: jax.Array


class Verdict(NamedTuple):
    """Of the tree after a search."""

    best: jax.Array
    early: jax.Array
    left: jax.Array
    stop: jax.Array


def go_down(settings, grown, given):
    """Descend and widen until every tree has its leaf."""
    rows = jnp.arange(len(given.where))

    def waiting(state):
        return state[1].waiting.any()

    def add(state):
        grown, cursor, widened = state
        level = grown.step[rows, cursor.node] - grown.step[rows, grown.root]
        drawn = jax.tree.map(lambda field: field[rows, level], given.drawn)
        grown = widen.widen(settings, grown, cursor.node, drawn, cursor.waiting)
        widened = widened.at[rows, level].max(cursor.waiting)
        return grown, select.descend(settings, grown, cursor, given.where), widened

    cursor = select.descend(settings, grown, select.at_root(grown), given.where)
    return jax.lax.while_loop(waiting, add, (grown, cursor, jnp.zeros((len(rows), settings.depth), bool)))


def search(settings: Settings, grown: tree.Tree, given: Given, expanding: dict | None = None) -> Searched:
    """One search in all trees, brought to the host; expanding: {settings: rows}, where a row expands by its own."""
    found = down_program(settings, grown, given)
    grown = found.tree
    for own, rows in (expanding or {settings: np.ones(len(given.where), bool)}).items():
        grown = expand_program(own, grown, found.leaf, given, given.where & rows)
    grown = backup_program(settings, grown, found.leaf, given)
    return jax.device_get(found._replace(tree=grown))


@functools.partial(jax.jit, static_argnums=0)
def down_program(settings: Settings, grown: tree.Tree, given: Given) -> Searched:
    rows = jnp.arange(len(given.where))
    grown, cursor, widened = go_down(settings, grown, given)
    every = jnp.broadcast_to(jnp.arange(settings.capacity)[:, None], (settings.capacity, len(rows)))
    scores = jax.vmap(lambda node: select.scores(settings, grown, node))(every).swapaxes(0, 1)
    grown, leaf = select.enter(settings, grown, cursor, given.where)
    return Searched(grown, leaf, *path.path_tokens(settings, grown, leaf), scores, widened)


@functools.partial(jax.jit, static_argnums=0)
def expand_program(settings: Settings, grown: tree.Tree, leaf: jax.Array, given: Given, where: jax.Array) -> tree.Tree:
    single = settings.set_length(grown.step[jnp.arange(len(leaf)), leaf]) == 1
    found = candidates.choose(settings, single, candidates.from_logits(settings, given.logits), given.sets)
    return expand.expand(settings, grown, leaf, found, given.terminal, where)


@functools.partial(jax.jit, static_argnums=0)
def backup_program(settings: Settings, grown: tree.Tree, leaf: jax.Array, given: Given) -> tree.Tree:
    return backup.backup(settings, grown, leaf, given.value, given.embeddings, given.where)


def verdict(settings: Settings, grown: tree.Tree) -> Verdict:
    return jax.device_get(verdict_program(settings, grown))


@functools.partial(jax.jit, static_argnums=0)
def verdict_program(settings: Settings, grown: tree.Tree) -> Verdict:
    return Verdict(
        commit.most_visited(settings, grown),
        commit.early_stop(settings, grown),
        commit.searches_left(settings, grown),
        commit.should_stop(settings, grown),
    )


fresh = jax.jit(tree.init, static_argnums=(0, 2))
commit_program = jax.jit(commit.commit, static_argnums=0)


def commit_where(settings: Settings, grown: tree.Tree, where: np.ndarray) -> commit.Committed:
    return jax.device_get(commit_program(settings, grown, where))


def packed(settings, entries):
    """[(tokens, prob)] as the arrays of one tree's candidates."""
    tokens = np.full((settings.max_children, settings.longest), -1, np.int32)
    length = np.zeros(settings.max_children, np.int32)
    log_prob = np.full(settings.max_children, -np.inf, np.float32)
    for i, (row, prob) in enumerate(entries):
        tokens[i, : len(row)], length[i], log_prob[i] = row, len(row), np.log(prob)
    return Candidates(tokens, length, log_prob)


def padded(values, shape, fill=0.0):
    """Rows in the corner of an array of a shape, float32."""
    array = np.full(shape, fill, np.float32)
    values = np.asarray(values, np.float32)
    if values.size:
        array[tuple(slice(n) for n in values.shape)] = values
    return array


def one(settings, where=True, drawn=None, logits=(), sets=(), terminal=False, value=0.0, embeddings=(), sizes=(16, 8)):
    """`Given` of one tree; drawn: {level: [(tokens, prob)]}; sizes: of the vocabulary and of an embedding."""
    levels = [packed(settings, (drawn or {}).get(level, ())) for level in range(settings.depth)]
    return Given(
        np.bool_(where),
        jax.tree.map(lambda *rows: np.stack(rows), *levels),
        padded(logits, sizes[:1], -np.inf),
        packed(settings, sets),
        np.bool_(terminal),
        np.float32(value),
        padded(embeddings, (settings.depth, sizes[1])),
    )


def stacked(rows):
    """Trees or inputs of single prompts as a batch."""
    return jax.tree.map(lambda *fields: np.stack(fields), *rows)


class Seen(NamedTuple):
    """A node as others may know it: by its path, not by its index."""

    index: int
    tokens: tuple
    step: int
    prior: float
    n: float
    fn: int
    q: float
    embedding: np.ndarray | None
    children: int
    terminal: bool


def look(grown, row):
    """All nodes of one tree of a batch on the host, visited or not, by their path of child slots from the root."""
    fields = grown._replace(key=np.zeros(0))
    one_tree = type(grown)(*(np.asarray(field)[row] if np.size(field) else field for field in fields))
    root = int(one_tree.root)
    found = {(): seen(one_tree, root, (), 0.0)}
    look_below(one_tree, root, (), found)
    assert one_tree.used.sum() == sum(node.index >= 0 for node in found.values()), "nodes are used and not in the tree"
    return found


def look_below(grown, node, path_here, found):
    for slot in range(grown.child_count[node]):
        tokens = tuple(int(t) for t in grown.child_tokens[node, slot, : grown.child_length[node, slot]])
        child, prior, here = int(grown.child_node[node, slot]), float(grown.child_prior[node, slot]), (*path_here, slot)
        if child >= 0:
            assert (grown.parent[child], grown.slot[child], grown.used[child]) == (node, slot, True)
            found[here] = seen(grown, child, tokens, prior)
            look_below(grown, child, here, found)
        else:
            found[here] = Seen(-1, tokens, int(grown.step[node]) + 1, prior, 0.0, 0, 0.0, None, 0, False)


def seen(grown, node, tokens, prior):
    return Seen(
        node,
        tokens,
        int(grown.step[node]),
        prior,
        float(grown.visits[node]),
        int(grown.true_visits[node]),
        float(grown.value[node]),
        grown.embedding[node],
        int(grown.child_count[node]),
        bool(grown.terminal[node]),
    )
