"""The compiled programs: prefill of left-padded prompts, then a loop that appends one token to every row.

All rows are generated in step. With adapters the rows are `[N, B]`: only the forward pass is vmapped over N, inside the
loop, so that the cache's write index stays one number (batched, it would turn every write into a scatter). What several
rows continue (a prefix, a prompt that is sampled several times) is computed and stored once, as `models.Shared`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp

from seal_jax.generation.bank import Bank, Layered, attach_cut, cut
from seal_jax.generation.state import Job, Program, State, emit, grow, open_state
from seal_jax.models import Cache, Config, Params, Shared, forward_cached, init_cache
from seal_jax.runtime.constraints import split_cache, split_rows

CACHE_AXES = Cache(keys=0, values=0, positions=0, valid=0, index=None, shared=())  # pyright: ignore[reportArgumentType]
Parts: TypeAlias = tuple[Shared, ...]
Feed: TypeAlias = Callable[[jax.Array, Cache, jax.Array | None], tuple[jax.Array, Cache]]


@partial(jax.jit, static_argnames=("program", "slots"), donate_argnames="cache")
def extend(
    params: Params,
    bank: Bank | None,
    shared: Parts,
    cache: Cache | None,
    tokens: jax.Array,
    mask: jax.Array,
    *,
    program: Program,
    slots: int,
) -> Cache:
    """Append a chunk of prompts, `[R, T]`, to a cache of `slots` slots (None: an empty one) and choose no token."""
    cache = _empty(params, bank, program.config, len(tokens), slots) if cache is None else cache
    return _feeder(params, bank, shared, program)(tokens, cache, mask)[1]


@partial(jax.jit, static_argnames=("program", "room"), donate_argnames="cache")
def start(
    params: Params,
    bank: Bank | None,
    shared: Parts,
    cache: Cache | None,
    tokens: jax.Array,
    mask: jax.Array,
    context: jax.Array | None,
    job: Job,
    *,
    program: Program,
    room: int,
) -> tuple[State, Parts]:
    """Prefill left-padded prompts (int32 and bool `[P, T]`, params unrolled) and generate up to `room` tokens.

    shared: what the prompts continue; cache: what chunks of them have been put into, None if these are the whole
    prompts; context: see `open_state`. Returns the state of `P * samples` rows and what the samples of a prompt share
    besides: the prompt, if there are several.
    """
    slots = tokens.shape[1] + (room if program.samples == 1 else 0)
    cache = _empty(params, bank, program.config, len(tokens), slots) if cache is None else cache
    logits, cache = _feeder(params, bank, shared, program)(tokens, cache, mask)
    own: Parts = ()
    if program.samples > 1:
        logits = jnp.repeat(logits, program.samples, axis=0)
        context = None if context is None else jnp.repeat(context, program.samples, axis=0)
        own = (Shared(*cache[:4]),)
        cache = _empty(params, bank, program.config, len(logits), room)
    state = open_state(program, cache, context, len(logits), room)
    state = emit(program, state, cache, logits, job)
    return _loop(_feeder(params, bank, (*shared, *own), program), state, job, program), own


@partial(jax.jit, static_argnames=("program", "room"))
def resume(
    params: Params, bank: Bank | None, shared: Parts, state: State, job: Job, *, program: Program, room: int
) -> State:
    """Go on with a generation that has used up its room, after making room for `room` tokens in all."""
    return _loop(_feeder(params, bank, shared, program), grow(state, room), job, program)


@partial(jax.jit, static_argnames=("adapters", "samples"))
def keep(
    kept: jax.Array, state: State, parts: Parts, job: Job, *, adapters: int | None, samples: int
) -> tuple[State, Parts, Job]:
    """Only some of the prompts, `kept` int32 `[N, K]` of each adapter, with all their samples.

    parts: what the rows of one prompt share. adapters: N where caches have an axis for it, else None.
    """

    def pick(x: jax.Array, each: int = samples) -> jax.Array:
        groups = x.reshape(len(kept), len(x) // (len(kept) * each), each, *x.shape[1:])
        return jax.vmap(lambda x, i: x[i])(groups, kept).reshape(kept.size * each, *x.shape[1:])

    def pick_cached(x: jax.Array, each: int = samples) -> jax.Array:
        if adapters is None:
            return pick(x, each)
        return _fold(pick(x.reshape(-1, *x.shape[2:]), each), adapters)

    index = state.cache.index
    cache = jax.tree.map(pick_cached, state.cache._replace(index=None))._replace(index=index)
    rows = jax.tree.map(pick, state._replace(cache=None, step=None))
    parts = jax.tree.map(partial(pick_cached, each=1), parts)
    job = job._replace(keys=pick(job.keys), limits=pick(job.limits))
    return rows._replace(cache=cache, step=state.step), parts, job


def _empty(params: Params, bank: Bank | None, config: Config, rows: int, slots: int) -> Cache:
    """A cache of nothing: `[R, ...]`, or `[N, R / N, ...]` with a bank."""
    cache = init_cache(config, rows, slots, params["embed_tokens"]["embedding"].dtype)
    cache = cache if bank is None else jax.tree.map(lambda x: _fold(x, bank.count) if x.ndim else x, cache)
    return split_cache(cache, config)


def _fold(x: jax.Array, count: int) -> jax.Array:
    """`[N * B, ...]` -> `[N, B, ...]`."""
    return x.reshape(count, len(x) // count, *x.shape[1:])


def _feeder(params: Params, bank: Bank | None, shared: Parts, program: Program) -> Feed:
    """The forward pass of all rows: tokens `[R, T]`, cache, mask -> logits `[R, V]` of the last column, grown cache."""

    def forward(
        params: Params, shared: Parts, tokens: jax.Array, cache: Cache, mask: jax.Array | None
    ) -> tuple[jax.Array, Cache]:
        # What is shared stays out of the cache between steps: a loop would carry, and a program return, a copy of it.
        cache = cache._replace(shared=shared)
        logits, cache = forward_cached(params, program.config, tokens, cache, mask, last_only=True)
        return logits[:, 0], cache._replace(shared=())

    if bank is None:
        return lambda tokens, cache, mask: forward(params, shared, split_rows(tokens), cache, mask)
    layers = len(params["layers"])
    adapters, factors = cut(bank.adapters, layers, axis=1), bank.factors
    factors = factors if isinstance(factors, Layered) else cut(factors or {}, layers, axis=0)

    def one(
        adapter: Layered, shared: Parts, tokens: jax.Array, cache: Cache, mask: jax.Array | None
    ) -> tuple[jax.Array, Cache]:
        adapted = attach_cut(params, adapter, factors, program.compose, program.form)
        return forward(adapted, shared, tokens, cache, mask)

    each = jax.vmap(one, in_axes=(0, 0, 0, CACHE_AXES, 0), out_axes=(0, CACHE_AXES))

    def feed_each(tokens: jax.Array, cache: Cache, mask: jax.Array | None) -> tuple[jax.Array, Cache]:
        mask = None if mask is None else _fold(mask, bank.count)
        logits, cache = each(adapters, shared, _fold(split_rows(tokens), bank.count), cache, mask)
        return logits.reshape(len(tokens), -1), cache

    return feed_each


def _loop(feed: Feed, state: State, job: Job, program: Program) -> State:
    def body(state: State) -> State:
        logits, cache = feed(state.last[:, None], state.cache, None)
        return emit(program, state, cache, logits, job)

    return jax.lax.while_loop(lambda s: ~jnp.all(s.done) & (s.step < s.room), body, state)
