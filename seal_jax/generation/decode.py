"""The compiled programs: prefill of left-padded prompts, then a loop that appends one token to every row.

All rows are generated in step. With adapters the rows are `[N, B]`: only the forward pass is vmapped over N, inside the
loop, so that the cache's write index stays one number (batched, it would turn every write into a scatter).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from seal_jax.generation.bank import Bank, Layered, attach_cut, cut
from seal_jax.generation.sampling import Rule, choose
from seal_jax.models import Cache, Config, Params, forward_cached, init_cache

CACHE_AXES = Cache(keys=0, values=0, positions=0, valid=0, index=None, shared=())  # pyright: ignore[reportArgumentType]


class Job(NamedTuple):
    """What one call asks for, as data: none of it recompiles a program. R = rows (N * B with adapters).

    keys `[R]`; limits int32 `[R]`, new tokens at most; ends bool `[V]`, tokens that end a row;
    temperature, top_p float32 `[]`.
    """

    keys: jax.Array
    limits: jax.Array
    ends: jax.Array
    temperature: jax.Array
    top_p: jax.Array


class State(NamedTuple):
    """A generation under way, with room for M new tokens.

    tokens int32 `[R, M]` and logprobs float32 `[R, M]`, filled up to `step` (columns after a row's end are
    meaningless); last int32 `[R]`, the newest token, not yet in the cache; done bool `[R]`; step int32 `[]`.
    """

    cache: Cache
    tokens: jax.Array
    logprobs: jax.Array
    last: jax.Array
    done: jax.Array
    step: jax.Array


class Program(NamedTuple):
    """What a compiled program is made for, besides shapes: the static argument of `start` and `resume`."""

    config: Config
    rule: Rule
    compose: str = "scaled"


Feed: TypeAlias = Callable[[jax.Array, Cache, jax.Array | None], tuple[jax.Array, Cache]]


@partial(jax.jit, static_argnames=("program", "room"))
def start(
    params: Params, bank: Bank | None, tokens: jax.Array, mask: jax.Array, job: Job, *, program: Program, room: int
) -> State:
    """Prefill left-padded prompts (int32 and bool `[R, P]`) and generate up to `room` tokens; params unrolled."""
    rows, length = tokens.shape
    feed = _feeder(params, bank, program)
    cache = init_cache(program.config, rows, length + room, params["embed_tokens"]["embedding"].dtype)
    if bank is not None:
        cache = jax.tree.map(lambda x: _fold(x, bank) if x.ndim else x, cache)
    logits, cache = feed(tokens, cache, mask)
    state = State(
        cache,
        tokens=jnp.zeros((rows, room), jnp.int32),
        logprobs=jnp.zeros((rows, room), jnp.float32),
        last=jnp.zeros((rows,), jnp.int32),
        done=jnp.zeros((rows,), bool),
        step=jnp.zeros((), jnp.int32),
    )
    return _loop(feed, _emit(state, cache, logits, job, program.rule), job, program.rule)


@partial(jax.jit, static_argnames=("program", "room"))
def resume(params: Params, bank: Bank | None, state: State, job: Job, *, program: Program, room: int) -> State:
    """Go on with a generation that has used up its room, after making room for `room` tokens in all."""
    more = room - state.tokens.shape[1]
    cache = state.cache
    cache = cache._replace(
        keys=tuple(_grow(x, more, -2) for x in cache.keys),
        values=tuple(_grow(x, more, -2) for x in cache.values),
        positions=_grow(cache.positions, more, -1),
        valid=_grow(cache.valid, more, -1),
    )
    state = state._replace(cache=cache, tokens=_grow(state.tokens, more, -1), logprobs=_grow(state.logprobs, more, -1))
    return _loop(_feeder(params, bank, program), state, job, program.rule)


def _grow(x: jax.Array, more: int, axis: int) -> jax.Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, more)
    return jnp.pad(x, widths)


def _fold(x: jax.Array, bank: Bank) -> jax.Array:
    """`[N * B, ...]` -> `[N, B, ...]`."""
    return x.reshape(bank.count, -1, *x.shape[1:])


def _feeder(params: Params, bank: Bank | None, program: Program) -> Feed:
    """The forward pass of all rows: tokens `[R, T]`, cache, mask -> logits `[R, V]` of the last column, grown cache."""
    forward = partial(forward_cached, config=program.config, last_only=True)
    if bank is None:

        def feed(tokens: jax.Array, cache: Cache, mask: jax.Array | None) -> tuple[jax.Array, Cache]:
            logits, cache = forward(params, tokens=tokens, cache=cache, mask=mask)
            return logits[:, 0], cache

        return feed
    layers = len(params["layers"])
    adapters, factors = cut(bank.adapters, layers, axis=1), cut(bank.factors or {}, layers, axis=0)

    def one(adapter: Layered, tokens: jax.Array, cache: Cache, mask: jax.Array | None) -> tuple[jax.Array, Cache]:
        adapted = attach_cut(params, adapter, factors, program.compose)
        return forward(adapted, tokens=tokens, cache=cache, mask=mask)

    each = jax.vmap(one, in_axes=(0, 0, CACHE_AXES, 0), out_axes=(0, CACHE_AXES))

    def feed_each(tokens: jax.Array, cache: Cache, mask: jax.Array | None) -> tuple[jax.Array, Cache]:
        mask = None if mask is None else _fold(mask, bank)
        logits, cache = each(adapters, _fold(tokens, bank), cache, mask)
        return logits.reshape(len(tokens), -1), cache

    return feed_each


def _loop(feed: Feed, state: State, job: Job, rule: Rule) -> State:
    room = state.tokens.shape[1]

    def body(state: State) -> State:
        logits, cache = feed(state.last[:, None], state.cache, None)
        return _emit(state, cache, logits, job, rule)

    return jax.lax.while_loop(lambda s: ~jnp.all(s.done) & (s.step < room), body, state)


def _emit(state: State, cache: Cache, logits: jax.Array, job: Job, rule: Rule) -> State:
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(job.keys, state.step)
    token, logprob = choose(rule, logits, keys, job.temperature, job.top_p)
    put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=state.step, axis=1)
    step = state.step + 1
    return State(
        cache,
        tokens=put(state.tokens, token[:, None]),
        logprobs=put(state.logprobs, logprob[:, None]),
        last=token,
        done=state.done | job.ends[token] | (step >= job.limits),
        step=step,
    )
