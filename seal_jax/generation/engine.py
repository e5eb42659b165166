"""From rows of any shape to programs of few shapes and back: bucketing, padding, and the host's side of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.generation import decode
from seal_jax.generation.bank import Bank
from seal_jax.generation.prompts import bucket, pad_left
from seal_jax.generation.sampling import Sampling
from seal_jax.generation.stops import Ending
from seal_jax.models import Params, unroll

SEGMENT = 64  # new tokens before the host looks at the rows and the cache grows; it doubles each time
Columns: TypeAlias = list[list[Any]]  # one list per row


class Rows(NamedTuple):
    """The prompts of one adapter: token arrays, int32 `[rows]` limits, and what each row folds into the key."""

    prompts: list[np.ndarray]
    limits: np.ndarray
    ids: Sequence[int]


_unrolled = jax.jit(unroll)
_row_keys = jax.jit(jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0))))


def run(
    params: Params,
    program: decode.Program,
    bank: Bank | None,
    groups: list[Rows],
    keys: jax.Array,
    sampling: Sampling,
    end: Ending,
) -> list[tuple[Columns, Columns]]:
    """Tokens and log-probabilities of every row of the N groups, up to its limit and not yet cut at its end.

    Pads the groups to one bucketed shape and runs the programs. Without a bank N is 1. keys: `[N]`.
    """
    if not any(group.limits.any() for group in groups):
        return [([[] for _ in group.prompts], [[] for _ in group.prompts]) for group in groups]
    rows = bucket(max(len(group.prompts) for group in groups))
    length = bucket(max(len(p) for group in groups for p in group.prompts), least=8)
    tokens, mask = (np.concatenate(x) for x in zip(*(pad_left(group.prompts, rows, length) for group in groups)))
    job = decode.Job(
        keys=_row_keys(keys, np.stack([_filled(group.ids, rows) for group in groups])).reshape(-1),
        limits=jnp.asarray(np.concatenate([_filled(group.limits, rows) for group in groups])),
        ends=jnp.asarray(end.tokens),
        temperature=jnp.float32(sampling.temperature),
        top_p=jnp.float32(sampling.top_p),
    )
    if not isinstance(params["layers"], tuple):
        params = _unrolled(params)
    new, logprobs = _segments(params, bank, tokens, mask, job, end, program)
    new, logprobs = new.reshape(len(groups), rows, -1), logprobs.reshape(len(groups), rows, -1)
    return [(_limited(t, g.limits), _limited(p, g.limits)) for t, p, g in zip(new, logprobs, groups)]


def _filled(values: Sequence[int] | np.ndarray, rows: int) -> np.ndarray:
    return np.pad(np.asarray(values, np.int32), (0, rows - len(values)))


def _limited(columns: np.ndarray, limits: np.ndarray) -> list[list[Any]]:
    return [row[:limit].tolist() for row, limit in zip(columns, limits)]


def _segments(
    params: Params,
    bank: Bank | None,
    tokens: np.ndarray,
    mask: np.ndarray,
    job: decode.Job,
    end: Ending,
    program: decode.Program,
) -> tuple[np.ndarray, np.ndarray]:
    most = int(job.limits.max())
    room = min(SEGMENT, bucket(most, least=8))
    state = decode.start(params, bank, tokens, mask, job, program=program, room=room)
    while most > room:
        done = np.asarray(state.done)
        if end.stop:
            new = np.asarray(state.tokens)
            done = done | [not d and end.spelled(t.tolist()) for d, t in zip(done, new)]
        if done.all():
            break
        room = min(2 * room, bucket(most))
        state = decode.resume(params, bank, state._replace(done=jnp.asarray(done)), job, program=program, room=room)
    return np.asarray(state.tokens), np.asarray(state.logprobs)
