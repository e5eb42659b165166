"""The text of a leaf, its value, and the back-up of that value."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from seal_jax.rain.backup import backup
from seal_jax.rain.commit import should_stop
from seal_jax.rain.context import Way, of_nodes, way_to
from seal_jax.rain.endings import Endings
from seal_jax.rain.groups import first_of
from seal_jax.rain.memo import codes, look_up, remember
from seal_jax.rain.state import COMMIT, DESCEND, JUDGE, VALUE, Counts, Fixed, Program, State
from seal_jax.rain.tree import NONE, Tree


def value_leaves(program: Program, fixed: Fixed, state: State) -> State:
    """Judge the leaves that are ready and back their values up; then a slot searches on or commits."""
    settings = program.settings
    ready = state.phase == JUDGE
    way = way_to(settings, state.tree, state.leaf)
    tokens, mask = judged_texts(program, fixed.endings, state, way)
    code = codes(tokens, mask)
    known, values = look_up(state.memo, code)
    asked = ready & ~known if settings.remember_values else ready
    fold = jax.vmap(jax.random.fold_in)
    key = fold(of_nodes(state.tree.key, state.leaf), VALUE + of_nodes(state.tree.true_visits, state.leaf))
    values, counts, passes = judge(program, fixed, state, tokens, mask, key, values, asked)
    memo = remember(state.memo, code, values, asked) if settings.remember_values else state.memo
    embeddings = embed(program, fixed, state, way)
    tree = backup(settings, state.tree, state.leaf, values, embeddings, ready)
    if program.pause:
        tree = keep_shown(program, state, tree, tokens, mask, values, ready)
    counts = counts._replace(searches=counts.searches + ready.astype(jnp.int32))
    over = ready & should_stop(settings, tree)
    phase = jnp.where(over, COMMIT, jnp.where(ready, DESCEND, state.phase))
    return state._replace(tree=tree, memo=memo, counts=counts, passes=passes, phase=phase)


def keep_shown(
    program: Program,
    state: State,
    tree: Tree,
    tokens: jax.Array,
    mask: jax.Array,
    values: jax.Array,
    where: jax.Array,
) -> Tree:
    """Trees with the judged texts `[B, T]` of their leaves, from the end of the prompt on, and their values `[B]`."""
    text, trees = state.text, jnp.arange(len(where))
    column = (text.prompt - text.judged_from)[:, None] + jnp.arange(program.settings.longest_text)[None]
    there = mask.at[trees[:, None], column].get(mode="fill", fill_value=False)
    said = jnp.where(there, tokens.at[trees[:, None], column].get(mode="fill", fill_value=NONE), NONE)
    at = jnp.where(where, state.leaf, program.settings.capacity)  # out of bounds: not written
    return tree._replace(
        shown=tree.shown.at[trees, at].set(said, mode="drop"),
        verdict=tree.verdict.at[trees, at].set(values, mode="drop"),
    )


def judged_texts(program: Program, endings: Endings, state: State, way: Way) -> tuple[jax.Array, jax.Array]:
    """What judges are shown, int32 `[B, T]` and which columns of it are there, bool, these first.

    The prompt from `judged_from`, what was committed, the way to the leaf and the simulation, these without end tokens
    and without the tokens that a stop string is in, in part or whole; with `simulation="end"`, a text
    that has no end only up to its last whole sentence.
    """
    text, simulation = state.text, state.simulation
    batch = len(state.leaf)
    column = jnp.arange(program.room)[None]
    first = program.columns - text.prompt + text.judged_from
    old = (column >= first[:, None]) & (column < (program.columns + text.count)[:, None])
    on_way = jnp.arange(way.tokens.shape[2])[None, None] < way.lengths[..., None]
    further = jnp.arange(simulation.tokens.shape[1])[None] < simulation.count[:, None]
    tokens = jnp.concatenate([text.tokens, way.tokens.reshape(batch, -1), simulation.tokens], axis=1)
    tokens = jnp.maximum(tokens, 0)
    new = jnp.concatenate([on_way.reshape(batch, -1), further], axis=1)
    there = jnp.concatenate([old, new], axis=1)
    committed = column >= program.columns
    continued = jnp.concatenate([committed & old, new], axis=1)
    there &= ~(continued & endings.eos[tokens]) & ~_stop_string(endings, tokens, continued, simulation.ending)
    if program.settings.simulation == "end":
        there &= _whole_sentences(endings, tokens, there, continued, simulation.ending)
    size = program.judged[-1]
    place = jnp.where(there, jnp.cumsum(there, axis=1) - 1, size)
    rows = jnp.arange(batch)[:, None]
    packed = jnp.zeros((batch, size), jnp.int32).at[rows, place].set(tokens, mode="drop")
    return packed, jnp.arange(size)[None] < there.sum(axis=1)[:, None]


def _stop_string(endings: Endings, tokens: jax.Array, there: jax.Array, ending: jax.Array) -> jax.Array:
    """The tokens that a stop string at the end of texts is part of, bool `[B, L]`; ending: int32 `[B]`."""
    over = endings.has_ended(ending)
    overhang = ending - endings.ended
    width = jnp.where(there, endings.width[tokens], 0)
    index = jnp.arange(tokens.shape[1])[None]
    last = jnp.where(there, index, -1).max(axis=1)[:, None]
    width = jnp.where(index == last, 0, width)
    after = jnp.cumsum(width[:, ::-1], axis=1)[:, ::-1] - width
    inside = (after < overhang[:, None]) & (index < last)
    ends = (index == last) & ~endings.eos[tokens]
    return over[:, None] & there & (inside | ends)


def _whole_sentences(
    endings: Endings, tokens: jax.Array, there: jax.Array, continued: jax.Array, ending: jax.Array
) -> jax.Array:
    """Which columns bool `[B, L]` are not of an unfinished last sentence of the continuation."""
    index = jnp.arange(tokens.shape[1])[None]
    final = jnp.where(there & continued & endings.final[tokens], index, -1).max(axis=1)[:, None]
    return endings.has_ended(ending)[:, None] | (final < 0) | (index <= final)


def judge(
    program: Program,
    fixed: Fixed,
    state: State,
    tokens: jax.Array,
    mask: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    asked: jax.Array,
) -> tuple[jax.Array, Counts, jax.Array]:
    """Values `[B]` with those of the texts that are asked about, bool `[B]`, a group at a time; counts and passes."""

    def branch(size: int) -> Callable[..., jax.Array]:
        return lambda tokens, mask, key: fixed.judge(tokens[:, :size], mask[:, :size], key)

    branches = [branch(size) for size in program.judged]

    def some(
        carry: tuple[jax.Array, jax.Array, Counts, jax.Array],
    ) -> tuple[jax.Array, jax.Array, Counts, jax.Array]:
        pending, values, counts, passes = carry
        group = first_of(pending, program.group)
        texts, there, key = group.take((tokens, mask, keys))
        there &= group.there[:, None]
        longest = there.sum(axis=1).max()
        which = jnp.searchsorted(jnp.array(program.judged[:-1]), longest) if branches[1:] else 0
        new = jax.lax.switch(which, branches, texts, there, key)
        cost = fixed.judge.cost(there)
        counts = counts._replace(
            judged=group.put(counts.judged, group.take(counts.judged) + 1),
            passes=group.put(counts.passes, group.take(counts.passes) + fixed.judge.passes),
            tokens=group.put(counts.tokens, group.take(counts.tokens) + cost),
        )
        pending = group.put(pending, jnp.zeros_like(group.there))
        return pending, group.put(values, new), counts, passes + fixed.judge.passes

    first = (asked, values, state.counts, state.passes)
    return jax.lax.while_loop(lambda carry: carry[0].any(), some, first)[1:]


def embed(program: Program, fixed: Fixed, state: State, way: Way) -> jax.Array:
    """Embeddings float32 `[B, D, E]` of the texts from each node of a way, the leaf first, to the simulation's end."""
    simulation, pages = state.simulation, state.pages
    batch, depth, size = way.tokens.shape
    trees = jnp.arange(batch)[:, None]
    hidden = pages.hidden[trees, way.nodes].reshape(batch, depth * size, -1)
    on_way = (jnp.arange(size)[None, None] < way.lengths[..., None]).reshape(batch, -1)
    further = jnp.arange(simulation.tokens.shape[1])[None] < simulation.count[:, None]
    starts = (depth - 1 - jnp.arange(depth, dtype=jnp.int32)) * size
    return fixed.embed(
        jnp.concatenate([way.tokens.reshape(batch, -1), simulation.tokens], axis=1),
        jnp.concatenate([hidden, simulation.hidden], axis=1),
        jnp.concatenate([on_way, further], axis=1),
        jnp.broadcast_to(starts[None], (batch, depth)),
    )
