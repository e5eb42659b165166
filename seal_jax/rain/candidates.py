"""Candidate token sets: what a node's children can be, and how likely each is."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.rain.batched import batched
from seal_jax.rain.settings import Settings
from seal_jax.rain.tree import NONE, Tree


class Candidates(NamedTuple):
    """Up to K token sets, those that are there first.

    tokens: int32 `[K, S]`, -1 beyond length int32 `[K]`. log_prob: float32 `[K]`, up to a constant; -inf: not there.
    """

    tokens: jax.Array
    length: jax.Array
    log_prob: jax.Array


def canonical(tokens: jax.Array, length: jax.Array) -> jax.Array:
    """Tokens `[..., S]` with -1 beyond length `[...]`, so that equal sets have equal rows."""
    place = jax.lax.broadcasted_iota(jnp.int32, tokens.shape, tokens.ndim - 1)
    return jnp.where(place < length[..., None], tokens, NONE)


@batched
def from_logits(settings: Settings, logits: jax.Array) -> Candidates:
    """The likeliest tokens by logits float32 `[B, V]`, likeliest first, as sets of one; of equal ones the first.

    There are `max_children` of them: `expand` takes the first `candidates`, and widening goes on in the list.
    """
    size = settings.max_children
    logits = jnp.where(logits == 0, 0.0, logits)  # a sort puts 0 before -0, which would decide between equal tokens
    values, tokens = jax.lax.top_k(logits, min(size, len(logits)))
    missing = size - len(values)
    values = jnp.pad(values, (0, missing), constant_values=-jnp.inf)
    tokens = jnp.pad(tokens.astype(jnp.int32), (0, missing), constant_values=NONE)
    rows = jnp.full((size, settings.longest), NONE, jnp.int32).at[:, 0].set(tokens)
    return Candidates(rows, jnp.ones(size, jnp.int32), values)


@batched
def from_rollouts(settings: Settings, tokens: jax.Array, length: jax.Array, log_prob: jax.Array) -> Candidates:
    """The distinct ones of rollouts `[B, R]`, the first of which is the greedy one, in order.

    tokens: int32 `[B, R, S]`; length: int32 `[B, R]`; log_prob: float32 `[B, R]`, sums over the tokens. At most
    `candidates` are kept. The greedy one's probability is at most the sum of the others' and at least their largest
    plus their smallest; alone it keeps its own.
    """
    rows = canonical(tokens, length)
    same = jnp.all(rows[:, None] == rows[None], axis=-1)
    count = len(rows)
    earlier = jnp.arange(count)[None] < jnp.arange(count)[:, None]
    fresh = ~jnp.any(same & earlier, axis=-1)
    kept = fresh & (jnp.cumsum(fresh) <= settings.candidates)
    log_prob = log_prob.at[0].set(clamped(log_prob[0], log_prob, kept.at[0].set(False)))
    place = jnp.where(kept, jnp.cumsum(kept) - 1, settings.max_children)  # outside: dropped
    size = settings.max_children
    return Candidates(
        jnp.full((size, settings.longest), NONE, jnp.int32).at[place].set(rows, mode="drop"),
        jnp.zeros(size, jnp.int32).at[place].set(length, mode="drop"),
        jnp.full(size, -jnp.inf, jnp.float32).at[place].set(log_prob, mode="drop"),
    )


def clamped(greedy: jax.Array, log_prob: jax.Array, others: jax.Array) -> jax.Array:
    """The greedy set's log probability `[]`, moved between what those of the others allow; alone as it is."""
    values = jnp.where(others, log_prob, -jnp.inf)
    largest, smallest = values.max(), jnp.where(others, log_prob, jnp.inf).min()
    upper = jax.scipy.special.logsumexp(values)
    moved = jnp.maximum(jnp.minimum(greedy, upper), jnp.logaddexp(largest, smallest))
    return jnp.where(others.any(), moved, greedy)


@batched
def from_sample(
    settings: Settings, tree: Tree, node: jax.Array, tokens: jax.Array, length: jax.Array, log_prob: jax.Array
) -> Candidates:
    """What widening a node int32 `[B]` draws: its greedy set, and a sampled rollout if that is another.

    tokens: int32 `[B, S]`; length: int32 `[B]`; log_prob: float32 `[B]`, all of the sample. A node's first child is its
    greedy set, and beside a single other one the clamp makes it exactly twice as likely, so that the greedy rollout
    need not be drawn again.
    """
    size = settings.max_children
    sample, greedy = canonical(tokens, length), tree.child_tokens[node, 0]
    alone = jnp.all(sample == greedy)
    first = jnp.where(alone, log_prob, log_prob + jnp.log(2.0))
    second = jnp.where(alone, -jnp.inf, log_prob)
    return Candidates(
        jnp.full((size, settings.longest), NONE, jnp.int32).at[0].set(greedy).at[1].set(sample),
        jnp.zeros(size, jnp.int32).at[0].set(tree.child_length[node, 0]).at[1].set(length),
        jnp.full(size, -jnp.inf, jnp.float32).at[0].set(first).at[1].set(second),
    )


@batched
def choose(settings: Settings, first: jax.Array, a: Candidates, b: Candidates) -> Candidates:
    """Candidates a in the trees where first bool `[B]`, and b in the others."""
    del settings
    return jax.tree.map(lambda x, y: jnp.where(first, x, y), a, b)
