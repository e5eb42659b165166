"""From rows of any shape to programs of few shapes and back: bucketing, padding, and the host's side of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.generation import decode
from seal_jax.generation.bank import Bank
from seal_jax.generation.control import Controls, Penalties
from seal_jax.generation.prefix import chunks, padded_length
from seal_jax.generation.prompts import bucket, pad_left
from seal_jax.generation.sampling import Sampling, knobs_of
from seal_jax.generation.state import Job, Program, State, Tokens
from seal_jax.generation.stops import Ending
from seal_jax.models import Params, unroll
from seal_jax.runtime.clock import timed
from seal_jax.runtime.distributed import host
from seal_jax.runtime.mesh import mesh_of, row_groups, use

SEGMENT = 64  # new tokens before the host looks at the rows and the cache grows; it doubles each time
SAMPLES = np.uint32(1 << 31)  # sample s > 0 of a row folds this plus s into its key: no step is so large


class Rows(NamedTuple):
    """The prompts of one adapter: token arrays, int32 `[rows]` limits, and what each row folds into the key."""

    prompts: list[np.ndarray]
    limits: np.ndarray
    ids: Sequence[int]


class Order(NamedTuple):
    """What `run` needs besides the rows.

    bank: adapters, one for each group of rows, or None; prefix: its part and how many tokens of each prompt it holds;
    chunk: tokens of prefill at once, None for all.
    """

    program: Program
    sampling: Sampling
    controls: Controls
    end: Ending
    bank: Bank | None = None
    prefix: tuple[decode.Parts, int] = ((), 0)
    chunk: int | None = None


class Layout(NamedTuple):
    """How rows lie in the arrays: N groups of B prompts of `samples` rows each; B is a multiple of `spread`."""

    groups: int
    prompts: int
    samples: int
    spread: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """`[N, B, samples]`."""
        return self[:3]

    @property
    def rows(self) -> int:
        """All of them."""
        return self.groups * self.prompts * self.samples


_unrolled = jax.jit(unroll)


@partial(jax.jit, static_argnames="samples")
def _row_keys(keys: jax.Array, ids: jax.Array, samples: int) -> jax.Array:
    """Keys `[N * B * samples]` of keys `[N]` and ids `[N, B]`; the first sample's does not depend on their number."""
    rows = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0)))(keys, ids).reshape(-1, 1)
    more = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0)), in_axes=(0, None))
    others = more(rows[:, 0], SAMPLES + jnp.arange(1, samples, dtype=jnp.uint32))
    return jnp.concatenate([rows, others], axis=1).reshape(-1)


def run(params: Params, groups: list[Rows], keys: jax.Array, order: Order) -> list[list[Tokens]]:
    """New tokens of every row of the N groups, up to its limit and not yet cut at its end, as numpy arrays.

    Pads the groups to one bucketed shape and runs the programs. Without a bank N is 1. keys: `[N]`. The samples of a
    prompt follow one another.
    """
    spread = 1 if order.bank else row_groups(mesh_of(params))
    prompts = bucket(max(len(group.prompts) for group in groups))
    layout = Layout(len(groups), -(-prompts // spread) * spread, order.program.samples, spread)
    limits = np.stack([_filled(group.limits, layout.prompts) for group in groups])
    limits = np.repeat(limits.reshape(-1), layout.samples)
    ids = np.stack([_filled(group.ids, layout.prompts) for group in groups])
    job = job_of(limits, _row_keys(keys, ids, layout.samples), order)
    if not isinstance(params["layers"], tuple):
        params = _unrolled(params)
    collected = _Collected(limits, order.program.top)
    if limits.any():
        with use(mesh_of(params)):
            _segments(params, groups, layout, job, order, collected)
    per_group = layout.prompts * layout.samples
    return [
        [collected.row(n * per_group + i) for i in range(len(group.prompts) * layout.samples)]
        for n, group in enumerate(groups)
    ]


def _filled(values: Sequence[int] | np.ndarray, rows: int) -> np.ndarray:
    return np.pad(np.asarray(values, np.int32), (0, rows - len(values)))


def job_of(limits: np.ndarray | jax.Array, keys: jax.Array, order: Order) -> Job:
    """The data of a call: limits and keys are `[R]`."""
    return Job(keys, jnp.asarray(limits), jnp.asarray(order.end.tokens), knobs_of(order.sampling), _penalties(order))


def _penalties(order: Order) -> Penalties:
    eos = np.zeros(order.program.config.vocab_size, bool)
    eos[list(order.end.eos)] = True
    c = order.controls
    repetition, presence, frequency = map(jnp.float32, (c.repetition_penalty, c.presence_penalty, c.frequency_penalty))
    return Penalties(repetition, presence, frequency, jnp.int32(c.min_new_tokens), jnp.asarray(eos))


class _Collected:
    """New tokens of all rows, filled in as rows leave the arrays."""

    def __init__(self, limits: np.ndarray, top: int) -> None:
        self.limits = limits
        nothing: list[Any] = [np.zeros(0), np.zeros(0), np.zeros((0, top)), np.zeros((0, top))]
        self.rows = [Tokens(*nothing)] * len(limits)

    def take(self, state: State, rows: np.ndarray) -> None:
        """Note what the rows of a state have so far; `rows[i]` says which row i is."""
        new = host(state.new)
        for i, row in enumerate(rows):
            self.rows[row] = Tokens(*(x[i] for x in new))

    def row(self, row: int) -> Tokens:
        """One row, up to its limit."""
        return Tokens(*(x[: self.limits[row]] for x in self.rows[row]))


def _segments(
    params: Params, groups: list[Rows], layout: Layout, job: Job, order: Order, collected: _Collected
) -> None:
    most = int(collected.limits.max())
    room = min(SEGMENT, bucket(most, least=8))
    state, own = _start(params, groups, layout, job, order, room)
    rows = np.arange(layout.rows)
    while most > room:
        done = _done(state, order.end)
        if done.all():
            break
        state = state._replace(done=jnp.asarray(done))
        kept = _worth_keeping(done, layout)
        if kept is not None:
            collected.take(state, rows)
            count = None if order.bank is None else layout.groups
            state, own, job = timed(
                "decoding", decode.keep, kept, state, own, job, adapters=count, samples=layout.samples
            )
            rows = np.take_along_axis(rows.reshape(layout.shape), kept[..., None], axis=1).reshape(-1)
            layout = layout._replace(prompts=kept.shape[1])
        room = min(2 * room, bucket(most))
        parts = (*order.prefix[0], *own)
        state = timed(
            "decoding", decode.resume, params, order.bank, parts, state, job, program=order.program, room=room
        )
    collected.take(state, rows)


def _start(
    params: Params, groups: list[Rows], layout: Layout, job: Job, order: Order, room: int
) -> tuple[State, decode.Parts]:
    """Prefill, in chunks if asked for, and the first segment."""
    parts, held = order.prefix
    own = [[prompt[held:] for prompt in group.prompts] for group in groups]
    length = padded_length(max(len(p) for group in own for p in group), order.chunk)
    tokens, mask = (np.concatenate(x) for x in zip(*(pad_left(g, layout.prompts, length) for g in own)))
    *first, last = chunks(length, order.chunk or length)
    slots = length + (room if layout.samples == 1 else 0)
    extend = partial(timed, "decoding", decode.extend, params, order.bank, parts, program=order.program, slots=slots)
    cache = None
    for at in first:
        cache = extend(cache, tokens[:, at], mask[:, at])
    context = _context(groups, layout) if order.program.control.reads_prompts else None
    start = partial(timed, "decoding", decode.start, params, order.bank, parts, program=order.program, room=room)
    return start(cache, tokens[:, last], mask[:, last], context, job)


def _context(groups: list[Rows], layout: Layout) -> np.ndarray:
    """Whole prompts, prefix included: int32 `[N * B, C]`, -1 left of them."""
    length = bucket(max(len(p) for group in groups for p in group.prompts), least=8)
    padded = [pad_left(group.prompts, layout.prompts, length) for group in groups]
    return np.concatenate([np.where(mask, tokens, -1) for tokens, mask in padded])


def _done(state: State, end: Ending) -> np.ndarray:
    """Which rows have ended, stop strings over several tokens included: bool `[R]`."""
    done = host(state.done)
    if not end.stop:
        return done
    new = host(state.new.tokens)
    return done | [not d and end.spelled(t.tolist()) for d, t in zip(done, new)]


def _worth_keeping(done: np.ndarray, layout: Layout) -> np.ndarray | None:
    """The prompts of each group to go on with, int32 `[N, K]`, or None for all of them.

    A prompt goes on while any of its samples does. Another number of rows is another program, so rows are dropped only
    when at least half of them can be.
    """
    going = ~done.reshape(layout.shape).all(axis=2)
    most = -(-bucket(int(going.sum(axis=1).max())) // layout.spread) * layout.spread
    if 2 * most > layout.prompts:
        return None
    # Those that go on first, in their order; then finished ones, to fill up.
    return np.argsort(~going, axis=1, kind="stable")[:, :most].astype(np.int32)
