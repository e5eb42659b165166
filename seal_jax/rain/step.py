"""A round: every slot commits if it is to, finds a leaf, and judges it, in step with the others."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from seal_jax.rain.commit import commit
from seal_jax.rain.context import of_nodes
from seal_jax.rain.descent import find_leaf
from seal_jax.rain.endings import Endings
from seal_jax.rain.judging import value_leaves
from seal_jax.rain.pages import append
from seal_jax.rain.state import COMMIT, DESCEND, DONE, SIMULATE, Fixed, Program, State
from seal_jax.rain.visit import begin_simulation, enter_leaf, run_simulation


@partial(jax.jit, static_argnames="program", donate_argnames="state")
def run(program: Program, fixed: Fixed, state: State, enough: jax.Array) -> State:
    """Search until so many slots, int32 `[]`, have nothing to do; with `program.pause`, or one is about to commit."""

    def going(state: State) -> jax.Array:
        more = (state.phase == DONE).sum() < enough
        return more & ~(state.phase == COMMIT).any() if program.pause else more

    def body(state: State) -> State:
        state = search_round(program, fixed, state)
        return state if program.pause else commit_sets(program, fixed.endings, state)

    if program.pause:
        state = commit_sets(program, fixed.endings, state)
    return jax.lax.while_loop(going, body, state)


def search_round(program: Program, fixed: Fixed, state: State) -> State:
    """One search of each slot, or its beginning: simulations that take longer than most go on in the next round."""
    active = state.phase != DONE
    where = state.phase == DESCEND
    state = state._replace(rounds=state.rounds + 1, busy=state.busy + active.sum(dtype=jnp.int32))
    state, cursor = find_leaf(program, fixed, state, where)
    state = enter_leaf(program, fixed, state, cursor, where)
    state = begin_simulation(program, fixed, state)
    waiting = (state.phase == SIMULATE).sum(dtype=jnp.int32)
    state = run_simulation(program, fixed, state, waiting // 2)
    return value_leaves(program, fixed, state)


def commit_sets(program: Program, endings: Endings, state: State) -> State:
    """Commit where a search is over, and end the texts that are finished."""
    settings = program.settings
    where = state.phase == COMMIT
    done = commit(settings, state.tree, where)
    pages = state.pages
    text = append(state.text, pages, done.node, done.tokens, done.length, program.columns)
    tree = done.tree
    if settings.eos == "released":  # what was committed after an end token goes on
        tree = tree._replace(
            terminal=tree.terminal.at[jnp.arange(len(where)), tree.root].set(
                of_nodes(tree.terminal, tree.root) & ~where
            )
        )
    over = (text.count >= settings.max_new_tokens) | (done.length == 0)
    over |= endings.has_ended(of_nodes(pages.ending, tree.root))
    moved = done.length > 0
    counts = state.counts._replace(
        commits=state.counts.commits + moved.astype(jnp.int32),
        value=jnp.where(moved, of_nodes(tree.value, tree.root), state.counts.value),
        visits=jnp.where(moved, of_nodes(tree.true_visits, tree.root), state.counts.visits),
    )
    phase = jnp.where(where, jnp.where(over, DONE, DESCEND), state.phase)
    return state._replace(tree=tree, text=text, counts=counts, phase=phase)
