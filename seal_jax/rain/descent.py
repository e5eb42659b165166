"""The way down to a leaf, with what has to be drawn on it: children of a node, or one more of them.

A leaf gets its children when it is chosen a second time: most never are, and draws are keyed by node, so the tree is
the same as if it had got them at once.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.models import unembed
from seal_jax.rain import candidates as sets
from seal_jax.rain.candidates import Candidates
from seal_jax.rain.context import last_state, of_nodes, parts_before, way_to
from seal_jax.rain.expand import expand
from seal_jax.rain.groups import first_of
from seal_jax.rain.rollouts import Rollouts, Start, rollouts, rows_of
from seal_jax.rain.select import Cursor, at_root, descend
from seal_jax.rain.settings import Settings
from seal_jax.rain.state import ROLLOUT, SPARE, Counts, Fixed, Program, Spares, State
from seal_jax.rain.tree import Tree
from seal_jax.rain.widen import widen


class Descent(NamedTuple):
    """A descent under way. going: bool `[B]`."""

    tree: Tree
    cursor: Cursor
    spares: Spares
    counts: Counts
    going: jax.Array
    passes: jax.Array


class Needs(NamedTuple):
    """What a slot's node needs before the descent can go on, bool `[B]` each.

    grows: its children; deep: these, but it is too deep for any; widens: one more; single: of one token, which takes no
    rollout; empty: of the spare rollouts there is none left.
    """

    grows: jax.Array
    deep: jax.Array
    widens: jax.Array
    single: jax.Array
    empty: jax.Array

    @property
    def drawn(self) -> jax.Array:
        """Whether rollouts are to be drawn."""
        return ~self.single & (self.grows | (self.widens & self.empty))


def find_leaf(program: Program, fixed: Fixed, state: State, where: jax.Array) -> tuple[State, Cursor]:
    """Descend from the root, where bool `[B]`, until every slot has a leaf; the cursor says which."""
    settings = program.settings

    def step(now: Descent) -> Descent:
        cursor = descend(settings, now.tree, now.cursor, now.going)
        needs = needs_of(program, now.tree, now.spares, cursor, now.going)
        found = lambda now: provide(program, fixed, state, now, cursor, needs)  # noqa: E731
        now = now._replace(counts=now.counts._replace(cut=now.counts.cut | needs.deep))
        after = jax.lax.cond((needs.grows | needs.widens).any(), found, lambda now: now, now)
        return after._replace(cursor=cursor._replace(done=cursor.done & ~needs.grows), going=needs.grows | needs.widens)

    start = Descent(state.tree, at_root(state.tree), state.spares, state.counts, where, state.passes)
    done = jax.lax.while_loop(lambda now: now.going.any(), step, start)
    state = state._replace(tree=done.tree, spares=done.spares, counts=done.counts, passes=done.passes)
    return state, done.cursor


def needs_of(program: Program, tree: Tree, spares: Spares, cursor: Cursor, going: jax.Array) -> Needs:
    """What the nodes at which descents have stopped need."""
    settings, node = program.settings, cursor.node
    step = of_nodes(tree.step, node)
    seen = (of_nodes(tree.true_visits, node) > 0) & ~of_nodes(tree.terminal, node)
    bare = going & cursor.done & (cursor.slot < 0) & seen
    shallow = step - of_nodes(tree.step, tree.root) < settings.depth
    return Needs(
        grows=bare & shallow,
        deep=bare & ~shallow,
        widens=going & cursor.waiting,
        single=settings.set_length(step) == 1,
        empty=of_nodes(spares.used, node) % rows_of(settings) == 0,
    )


def provide(program: Program, fixed: Fixed, state: State, now: Descent, cursor: Cursor, needs: Needs) -> Descent:
    """Draw what the nodes need and put it into the trees."""
    settings, node = program.settings, cursor.node
    rows, trees = rows_of(settings), jnp.arange(len(node))
    now, drawn = draw_rollouts(program, fixed, state, now, node, needs)
    grown = sets.from_rollouts(settings, *drawn)
    if 1 in settings.set_lengths:
        listed = first_tokens(program, fixed, state, now.tree, node, needs)
        grown = sets.choose(settings, needs.single, listed, grown)
    tree = expand(settings, now.tree, node, grown, of_nodes(now.tree.terminal, node), needs.grows)
    used = of_nodes(now.spares.used, node)
    sample = jax.tree.map(lambda x: x[trees, node, used % rows], now.spares.rollouts)
    tree = widen(settings, tree, node, sets.from_sample(settings, tree, node, *sample), needs.widens)
    taken = (needs.widens & ~needs.single).astype(jnp.int32)
    spares = now.spares._replace(used=now.spares.used.at[trees, node].add(taken))
    return now._replace(tree=tree, spares=spares)


def first_tokens(program: Program, fixed: Fixed, state: State, tree: Tree, node: jax.Array, needs: Needs) -> Candidates:
    """Candidates of one token for the nodes that grow by such, whatever for the others."""
    config, settings = program.config, program.settings

    def computed() -> Candidates:
        last = last_state(tree, state.text, state.pages, node)
        return sets.from_logits(settings, unembed(fixed.params, config, last))

    shapes = jax.eval_shape(computed)
    nothing = lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)  # noqa: E731
    return jax.lax.cond((needs.grows & needs.single).any(), computed, nothing)


def draw_rollouts(
    program: Program, fixed: Fixed, state: State, now: Descent, node: jax.Array, needs: Needs
) -> tuple[Descent, Rollouts]:
    """Rollouts `[B, R, S]` for the nodes that grow, and new spare ones for those that have none left."""
    settings, tree = program.settings, now.tree
    batch = len(node)
    way = way_to(settings, tree, node)
    last = last_state(tree, state.text, state.pages, node)
    limit = settings.set_length(of_nodes(tree.step, node))
    key = node_keys(settings, tree, node, now.spares, needs)
    ending = of_nodes(state.pages.ending, node)

    def some(carry: tuple[jax.Array, Rollouts, Counts, jax.Array]) -> tuple[jax.Array, Rollouts, Counts, jax.Array]:
        pending, drawn, counts, passes = carry
        group = first_of(pending, program.group)
        start = Start(
            parts_before(state.text, state.pages, way, group),
            *group.take((last, ending, key, needs.grows)),
            jnp.where(group.there, group.take(limit), 0),
        )
        new, fed, used, steps = rollouts(fixed.params, program.config, settings, fixed.endings, start)
        counts = counts._replace(
            passes=group.put(counts.passes, group.take(counts.passes) + used),
            tokens=group.put(counts.tokens, group.take(counts.tokens) + fed),
        )
        pending = group.put(pending, jnp.zeros_like(group.there))
        return pending, group.put(drawn, new), counts, passes + steps

    shape = (batch, rows_of(settings))
    nothing = Rollouts(
        jnp.full((*shape, settings.longest), -1, jnp.int32),
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape, jnp.float32),
    )
    first = (needs.drawn, nothing, now.counts, now.passes)
    _, drawn, counts, passes = jax.lax.while_loop(lambda carry: carry[0].any(), some, first)
    refilled = needs.widens & needs.drawn
    at = jnp.where(refilled, node, settings.capacity)
    store = lambda x, new: x.at[jnp.arange(batch), at].set(new, mode="drop")  # noqa: E731
    spares = now.spares._replace(rollouts=jax.tree.map(store, now.spares.rollouts, drawn))
    return now._replace(counts=counts, passes=passes, spares=spares), drawn


def node_keys(settings: Settings, tree: Tree, node: jax.Array, spares: Spares, needs: Needs) -> jax.Array:
    """Random keys `[B]` of the rollouts of nodes: one for its children, one for each refill of its spares."""
    fold = jax.vmap(jax.random.fold_in)
    key = of_nodes(tree.key, node)
    refill = SPARE + of_nodes(spares.used, node) // rows_of(settings)
    return fold(key, jnp.where(needs.grows, ROLLOUT, refill))
