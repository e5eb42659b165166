"""A new leaf: its node, its page, and how its text goes on."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.models import hidden_cached, init_cache
from seal_jax.rain.context import Way, last_state, of_nodes, parts_before, way_to
from seal_jax.rain.groups import first_of
from seal_jax.rain.pages import Page, empty_page, write_pages
from seal_jax.rain.select import Cursor, enter
from seal_jax.rain.simulate import begin, simulate
from seal_jax.rain.state import COMMIT, ENTER, JUDGE, SIMULATE, SIMULATION, Counts, Fixed, Program, State


class _Filling(NamedTuple):
    pending: jax.Array
    new: Page
    counts: Counts
    passes: jax.Array


def enter_leaf(program: Program, fixed: Fixed, state: State, cursor: Cursor, where: jax.Array) -> State:
    """Make the chosen leaves nodes, where bool `[B]`, and fill the pages of those that are new.

    A slot whose tree is full has no leaf; it goes on to commit.
    """
    settings, endings = program.settings, fixed.endings
    full = where & (cursor.slot >= 0) & state.tree.used.all(-1)
    tree, leaf = enter(settings, state.tree, cursor, where)
    fresh = where & (cursor.slot >= 0) & ~full
    trees, at = jnp.arange(len(leaf)), jnp.where(fresh, leaf, settings.capacity)
    way = way_to(settings, tree, leaf)
    tokens, length = way.tokens[:, -1], way.lengths[:, -1]
    on = (jnp.arange(settings.longest)[None] < length[:, None]) & fresh[:, None]
    ending = of_nodes(state.pages.ending, cursor.node)
    for i in range(settings.longest):
        ending = endings.advance(ending, tokens[:, i], on[:, i])
    over = endings.has_ended(ending) | (state.text.count + way.count > settings.max_new_tokens)
    if settings.eos == "released":
        over |= (endings.eos[jnp.maximum(tokens, 0)] & on).any(-1)
    tree = tree._replace(terminal=tree.terminal.at[trees, at].set(over, mode="drop"))
    pages = state.pages._replace(ending=state.pages.ending.at[trees, at].set(ending, mode="drop"))
    spares = state.spares._replace(used=state.spares.used.at[trees, at].set(0, mode="drop"))
    state = state._replace(
        tree=tree,
        pages=pages,
        spares=spares,
        leaf=jnp.where(where, leaf, state.leaf),
        phase=jnp.where(full, COMMIT, jnp.where(where, ENTER, state.phase)),
    )
    return fill_pages(program, fixed, state, way, fresh)


def fill_pages(program: Program, fixed: Fixed, state: State, way: Way, fresh: jax.Array) -> State:
    """One pass over the tokens of each fresh leaf, at the end of its way.

    The loop collects new pages beside the old ones: a loop that carried these would copy them all in each step.
    """
    config, size, batch = program.config, program.settings.longest, len(fresh)
    before = way._replace(lengths=way.lengths.at[:, -1].set(0))

    def some(carry: _Filling) -> _Filling:
        group = first_of(carry.pending, program.group)
        mine: Way = group.take(way)
        mask = (jnp.arange(size)[None] < mine.lengths[:, -1:]) & group.there[:, None]
        cache = init_cache(config, len(mask), size, state.pages.hidden.dtype)
        cache = cache._replace(shared=parts_before(state.text, state.pages, before, group))
        tokens = jnp.where(mask, mine.tokens[:, -1], 0)
        hidden, cache = hidden_cached(fixed.params, config, tokens, cache, mask)
        counts = carry.counts._replace(
            passes=group.put(carry.counts.passes, group.take(carry.counts.passes) + 1),
            tokens=group.put(carry.counts.tokens, group.take(carry.counts.tokens) + mask.sum(-1, dtype=jnp.int32)),
        )
        return _Filling(
            pending=group.put(carry.pending, jnp.zeros_like(group.there)),
            new=group.put(carry.new, Page(cache.keys, cache.values, hidden)),
            counts=counts,
            passes=carry.passes + 1,
        )

    start = _Filling(fresh, empty_page(config, size, batch, state.pages.hidden.dtype), state.counts, state.passes)
    done = jax.lax.while_loop(lambda carry: carry.pending.any(), some, start)
    at = jnp.where(fresh, state.leaf, program.settings.capacity)  # out of bounds: not written
    pages = write_pages(state.pages, at, done.new)
    return state._replace(pages=pages, counts=done.counts, passes=done.passes)


def begin_simulation(program: Program, fixed: Fixed, state: State) -> State:
    """Leaves that have been entered are simulated, or judged if their sentence or text is over."""
    settings, tree, text = program.settings, state.tree, state.text
    entered, leaf = state.phase == ENTER, state.leaf
    way = way_to(settings, tree, leaf)
    trees = jnp.arange(len(leaf))
    before = text.tokens[trees, program.columns + text.count - 1]
    length = way.lengths[:, -1]
    token = jnp.where(length > 0, way.tokens[trees, -1, length - 1], before)
    closed = of_nodes(tree.terminal, leaf)
    if settings.simulation == "sentence":
        closed |= fixed.endings.sentence[jnp.maximum(token, 0)]
    left = settings.max_new_tokens + 1 - text.count - way.count
    limit = jnp.where(closed, 0, jnp.clip(left, 0, settings.max_simulation))
    fold = jax.vmap(jax.random.fold_in)
    key = fold(fold(of_nodes(tree.key, leaf), jnp.full(len(leaf), SIMULATION)), of_nodes(tree.true_visits, leaf))
    last = last_state(tree, text, state.pages, leaf)
    simulation = begin(state.simulation, entered, last, of_nodes(state.pages.ending, leaf), key, limit)
    return state._replace(simulation=simulation, phase=jnp.where(entered, SIMULATE, state.phase))


def run_simulation(program: Program, fixed: Fixed, state: State, leave: jax.Array) -> State:
    """Go on with simulations until no more than leave int32 `[]` are under way; what has ended is judged next."""
    settings, config = program.settings, program.config

    def run(state: State) -> Any:
        way = way_to(settings, state.tree, state.leaf)
        everyone = first_of(jnp.ones(len(state.leaf), bool), len(state.leaf))
        parts = parts_before(state.text, state.pages, way, everyone)
        sentence = settings.simulation == "sentence"
        return simulate(fixed.params, config, fixed.endings, parts, state.simulation, leave, sentence)

    nothing = jnp.zeros(len(state.leaf), jnp.int32)
    idle = lambda state: (state.simulation, nothing, jnp.zeros((), jnp.int32))  # noqa: E731
    simulation, fed, passes = jax.lax.cond(state.simulation.live.any(), run, idle, state)
    ready = (state.phase == SIMULATE) & ~simulation.live
    counts = state.counts._replace(passes=state.counts.passes + fed, tokens=state.counts.tokens + fed)
    return state._replace(
        simulation=simulation,
        counts=counts,
        passes=state.passes + passes,
        phase=jnp.where(ready, JUDGE, state.phase),
    )
