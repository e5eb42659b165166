"""A generation under way, and the step that adds one token to every row of it."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.generation.control import ControlRule, History, Penalties, control, grow_history, open_history, remember
from seal_jax.generation.sampling import Knobs, Rule, choose
from seal_jax.models import Cache, Config


class Program(NamedTuple):
    """What a compiled program is made for, besides shapes: the static argument of all of `decode`.

    top: how many of the likeliest tokens are reported; samples: rows that continue each prompt; compose, form:
    of adapters.
    """

    config: Config
    rule: Rule
    control: ControlRule = ControlRule()
    top: int = 0
    samples: int = 1
    compose: str = "scaled"
    form: str = "auto"


class Job(NamedTuple):
    """What one call asks for, as data: none of it recompiles a program. R = rows (adapters * prompts * samples).

    keys `[R]`; limits int32 `[R]`, new tokens at most; ends bool `[V]`, tokens that end a row; knobs and penalties:
    settings of the sampling.
    """

    keys: jax.Array
    limits: jax.Array
    ends: jax.Array
    knobs: Knobs
    penalties: Penalties


class Tokens(NamedTuple):
    """New tokens of R rows, with room for M: tokens int32 and logprobs float32 `[R, M]`; top_tokens and top_logprobs
    `[R, M, top]`. Columns after a row's end are meaningless."""

    tokens: jax.Array
    logprobs: jax.Array
    top_tokens: jax.Array
    top_logprobs: jax.Array


class State(NamedTuple):
    """A generation under way.

    cache: of R rows, `[N, R / N, ...]` with N adapters, without what rows share; new: filled up to `step`;
    last int32 `[R]`, the newest token, not yet in the cache; done bool `[R]`; step int32 `[]`.
    """

    cache: Cache
    new: Tokens
    history: History
    last: jax.Array
    done: jax.Array
    step: jax.Array

    @property
    def room(self) -> int:
        """New tokens there is room for."""
        return self.new.tokens.shape[1]


def open_state(program: Program, cache: Cache, context: jax.Array | None, rows: int, room: int) -> State:
    """Nothing said yet. context: prompts int32 `[R, C]`, -1 left of them, where the control asks for them."""
    new = Tokens(
        tokens=jnp.zeros((rows, room), jnp.int32),
        logprobs=jnp.zeros((rows, room), jnp.float32),
        top_tokens=jnp.zeros((rows, room, program.top), jnp.int32),
        top_logprobs=jnp.zeros((rows, room, program.top), jnp.float32),
    )
    history = open_history(program.control, context, rows, program.config.vocab_size, room)
    last, done = jnp.zeros((rows,), jnp.int32), jnp.zeros((rows,), bool)
    return State(cache, new, history, last, done, step=jnp.zeros((), jnp.int32))


def grow(state: State, room: int) -> State:
    """The same state with room for `room` new tokens."""
    more = room - state.room
    pad = lambda x, axis: jnp.pad(x, [(0, more if i == axis % x.ndim else 0) for i in range(x.ndim)])  # noqa: E731
    cache = state.cache._replace(
        keys=tuple(pad(x, -2) for x in state.cache.keys),
        values=tuple(pad(x, -2) for x in state.cache.values),
        positions=pad(state.cache.positions, -1),
        valid=pad(state.cache.valid, -1),
    )
    new = jax.tree.map(lambda x: pad(x, 1), state.new)
    return state._replace(cache=cache, new=new, history=grow_history(state.history, more))


def emit(program: Program, state: State, cache: Cache, logits: jax.Array, job: Job) -> State:
    """Choose and note the next token of every row from its logits float32 `[R, V]`, which came with `cache`."""
    step = state.step
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(job.keys, step)
    controlled = control(program.control, logits, state.history, job.penalties, step, state.room)
    token = choose(program.rule, controlled, keys, job.knobs)
    put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=step, axis=1)
    return State(
        cache,
        new=jax.tree.map(lambda held, x: put(held, x[:, None]), state.new, _reported(program, logits, token)),
        history=remember(state.history, token, step, state.room),
        last=token,
        done=state.done | job.ends[token] | (step + 1 >= job.limits),
        step=step + 1,
    )


def _reported(program: Program, logits: jax.Array, token: jax.Array) -> Tokens:
    """One column: the tokens with their log-probabilities under the unmodified distribution, and the likeliest."""
    total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1) - total
    if program.top:
        values, likeliest = jax.lax.top_k(logits, program.top)
    else:
        values = likeliest = jnp.zeros((len(token), 0))
    return Tokens(token, chosen[:, 0], likeliest.astype(jnp.int32), values - total)
