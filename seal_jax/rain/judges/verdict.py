"""A model as judge: the question about every text in every order, in one forward pass."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from seal_jax.models import Config, Params, Shared, hidden_cached, init_cache, unembed
from seal_jax.models.attention import positions_of


@struct.dataclass
class Question:
    """What is asked about texts: the arrays of a model's judge.

    params: unrolled, with or without adapters; prefix: keys and values of what comes before a text, one sequence, or
    nothing; common, branches: int32 tokens after the text, the same in all orders and of each order; answers: int32
    `[O, K, M]`, see `pieces.Pieces`; values: float32 `[K]` of the choices.
    """

    params: Params
    prefix: tuple[Shared, ...]
    common: jax.Array
    branches: tuple[jax.Array, ...]
    answers: jax.Array
    values: jax.Array


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a model's judge is applied. hard: one vote in each order; else the expected value of the answer."""

    config: Config
    hard: bool = True

    def __call__(self, question: Question, tokens: jax.Array, mask: jax.Array, key: Any = None) -> jax.Array:
        """The values of texts, float32 `[R]`; tokens int32 and mask bool `[R, T]`."""
        return verdicts(self.scores(question, tokens, mask), question.values, hard=self.hard)

    def scores(self, question: Question, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        """The logit of each choice in each order: float32 `[R, O, K]`. A choice of several spellings has the largest.

        Each text is one row, `text | common | order 1 | order 2`, in which an order does not see the other.
        """
        states = _read(question, self.config, tokens, mask)
        logits = unembed(question.params, self.config, states)
        rows, orders, _ = logits.shape
        flat = question.answers.reshape(1, orders, -1)
        chosen = jnp.take_along_axis(logits, jnp.broadcast_to(jnp.maximum(flat, 0), (rows, *flat.shape[1:])), axis=-1)
        chosen = jnp.where(flat >= 0, chosen, -jnp.inf)
        return chosen.reshape(rows, *question.answers.shape).max(axis=-1)


def verdicts(scores: jax.Array, values: jax.Array, *, hard: bool = True) -> jax.Array:
    """Values in [-1, 1], `[...]`, from the scores of the choices in each order, `[..., O, K]`; their mean over orders.

    scores: logits (or, for hard votes, probabilities); values: float32 `[K]`. hard: an order votes for its best choice,
    of equal ones the one of least value; else it is the choices' values weighted by their probabilities among each
    other. An order whose scores are NaN has the least value.
    """
    values = jnp.broadcast_to(values, scores.shape)
    if hard:
        beaten = scores < scores.max(axis=-1, keepdims=True)
        each = jnp.where(beaten, jnp.inf, values).min(axis=-1)
    else:
        each = (jax.nn.softmax(scores, axis=-1) * values).sum(axis=-1)
        each = jnp.where(jnp.isnan(each), values.min(axis=-1), each)
    return each.mean(axis=-1)


def _read(question: Question, config: Config, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """The hidden states `[R, O, D]` at the last token of each order."""
    rows, width = tokens.shape
    trunk = len(question.common)
    lengths = [len(branch) for branch in question.branches]
    after = jnp.concatenate([question.common, *question.branches])
    before = sum(int(np.prod(part.valid.shape)) for part in question.prefix)
    row = jnp.concatenate([tokens, jnp.broadcast_to(after, (rows, len(after)))], axis=1)
    real = jnp.concatenate([mask, jnp.ones((rows, len(after)), bool)], axis=1)
    ahead = np.concatenate([np.arange(trunk), *(trunk + np.arange(length) for length in lengths)])
    ends = mask.sum(axis=-1, keepdims=True, dtype=jnp.int32)
    positions = before + jnp.concatenate([positions_of(mask), ends + jnp.asarray(ahead, jnp.int32)[None]], axis=1)
    order = np.repeat(np.arange(1 + len(lengths)), [width + trunk, *lengths])
    own = (order[None, :] == 0) | (order[:, None] == order[None, :])
    seen = np.concatenate([np.ones((len(order), before), bool), own], axis=1)[None]
    cache = init_cache(config, rows, row.shape[1], question.params["embed_tokens"]["embedding"].dtype)
    states, _ = hidden_cached(
        question.params,
        config,
        row,
        cache._replace(shared=question.prefix),
        real,
        positions=positions,
        seen=jnp.asarray(seen),
    )
    return states[:, width + trunk + np.cumsum(lengths) - 1]
