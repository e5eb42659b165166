"""The compiled programs: prefill of left-padded prompts, then a loop that appends one token to every row.

All rows are generated in step. With adapters the rows are `[N, B]`: only the forward pass is vmapped over N, inside the
loop, so that the cache's write index stays one number (batched, it would turn every write into a scatter).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.adapters import attach
from seal_jax.generation.sampling import Rule, choose
from seal_jax.models import Cache, Config, Params, forward_cached, init_cache

CACHE_AXES = Cache(keys=0, values=0, positions=0, valid=0, index=None)  # pyright: ignore[reportArgumentType]


class Bank(NamedTuple):
    """N adapters at once: every leaf of `adapters` has a leading axis N; SVF `factors` are shared and have none."""

    adapters: Any
    factors: Any = None


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


@partial(jax.jit, static_argnames=("config", "compose", "rule", "room"))
def start(
    params: Params,
    bank: Bank | None,
    tokens: jax.Array,
    mask: jax.Array,
    job: Job,
    *,
    config: Config,
    compose: str,
    rule: Rule,
    room: int,
) -> State:
    """Prefill left-padded prompts (int32 and bool `[R, P]`) and generate up to `room` tokens."""
    rows, length = tokens.shape
    cache = init_cache(config, rows, length + room, params["embed_tokens"]["embedding"].dtype)
    if bank is not None:
        cache = jax.tree.map(lambda x: _fold(x, bank) if x.ndim else x, cache)
    logits, cache = _append(params, config, bank, compose, tokens, cache, mask)
    state = State(
        cache,
        tokens=jnp.zeros((rows, room), jnp.int32),
        logprobs=jnp.zeros((rows, room), jnp.float32),
        last=jnp.zeros((rows,), jnp.int32),
        done=jnp.zeros((rows,), bool),
        step=jnp.zeros((), jnp.int32),
    )
    return _loop(params, bank, _emit(state, cache, logits, job, rule), job, config, compose, rule)


@partial(jax.jit, static_argnames=("config", "compose", "rule", "room"))
def resume(
    params: Params, bank: Bank | None, state: State, job: Job, *, config: Config, compose: str, rule: Rule, room: int
) -> State:
    """Go on with a generation that has used up its room, after making room for `room` tokens in all."""
    more = room - state.tokens.shape[1]
    cache = state.cache
    cache = cache._replace(
        keys=tuple(_grow(x, more, -3) for x in cache.keys),
        values=tuple(_grow(x, more, -3) for x in cache.values),
        positions=_grow(cache.positions, more, -1),
        valid=_grow(cache.valid, more, -1),
    )
    state = state._replace(cache=cache, tokens=_grow(state.tokens, more, -1), logprobs=_grow(state.logprobs, more, -1))
    return _loop(params, bank, state, job, config, compose, rule)


def _grow(x: jax.Array, more: int, axis: int) -> jax.Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, more)
    return jnp.pad(x, widths)


def _fold(x: jax.Array, bank: Bank) -> jax.Array:
    """`[N * B, ...]` -> `[N, B, ...]`."""
    return x.reshape(len(jax.tree.leaves(bank.adapters)[0]), -1, *x.shape[1:])


def _loop(params: Params, bank: Bank | None, state: State, job: Job, config: Config, compose: str, rule: Rule) -> State:
    room = state.tokens.shape[1]

    def body(state: State) -> State:
        logits, cache = _append(params, config, bank, compose, state.last[:, None], state.cache)
        return _emit(state, cache, logits, job, rule)

    return jax.lax.while_loop(lambda s: ~jnp.all(s.done) & (s.step < room), body, state)


def _append(
    params: Params,
    config: Config,
    bank: Bank | None,
    compose: str,
    tokens: jax.Array,
    cache: Cache,
    mask: jax.Array | None = None,
) -> tuple[jax.Array, Cache]:
    """Feed tokens `[R, T]`; the logits `[R, V]` of their last column and the grown cache."""
    if bank is None:
        logits, cache = forward_cached(params, config, tokens, cache, mask, last_only=True)
        return logits[:, 0], cache

    def one(adapter: Any, tokens: jax.Array, cache: Cache, mask: jax.Array | None) -> tuple[jax.Array, Cache]:
        adapted = attach(params, adapter, bank.factors, compose)
        return forward_cached(adapted, config, tokens, cache, mask, last_only=True)

    mask = None if mask is None else _fold(mask, bank)
    each = jax.vmap(one, in_axes=(0, 0, CACHE_AXES, 0), out_axes=(0, CACHE_AXES))
    logits, cache = each(bank.adapters, _fold(tokens, bank), cache, mask)
    return logits.reshape(len(tokens), -1), cache


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
