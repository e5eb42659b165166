"""How the next token is chosen from the logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.generation.checks import LARGEST, SMALLEST, check_integer, check_number, is_number

TINY = 5e-324  # the smallest float


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Greedy at temperature 0, else a draw from `softmax(logits / temperature)` cut by top-k, then top-p, then min-p.

    top_k: only the k likeliest tokens, None for all. top_p: only the smallest set of likeliest tokens whose
    probability reaches top_p, at least one; 1.0 for all. min_p: only tokens with at least this share of the
    likeliest one's probability; 0.0 for all. Raises ValueError for a value outside these ranges, or a temperature so
    small or large that float32 logits divided by it would vanish or overflow.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not is_number(self.temperature) or self.temperature != 0:
            expected = f"0 (greedy) or a positive number from {SMALLEST} to {LARGEST}"
            check_number("temperature", self.temperature, expected, SMALLEST, LARGEST)
        if self.top_k is not None:
            check_integer("top_k", self.top_k, "None (all tokens) or an integer of 1 or more", 1)
        check_number("top_p", self.top_p, "a number above 0 and at most 1", TINY, 1.0)
        check_number("min_p", self.min_p, "a number from 0 (off) to 1", 0.0, 1.0)


class Rule(NamedTuple):
    """The part of `Sampling` that shapes a program; temperature, top_p and min_p themselves are data."""

    greedy: bool
    top_k: int | None
    nucleus: bool
    floor: bool = False


class Knobs(NamedTuple):
    """The part of `Sampling` that is data: float32 `[]` each."""

    temperature: jax.Array
    top_p: jax.Array
    min_p: jax.Array


def knobs_of(sampling: Sampling) -> Knobs:
    """The data that `sampling` hands to its program."""
    return Knobs(jnp.float32(sampling.temperature), jnp.float32(sampling.top_p), jnp.float32(sampling.min_p))


def rule_of(sampling: Sampling, vocab_size: int) -> Rule:
    """The program that `sampling` needs: filters that would change nothing are left out of it."""
    if sampling.temperature == 0.0:
        return Rule(True, None, False)
    top_k = None if sampling.top_k is None or sampling.top_k >= vocab_size else sampling.top_k
    return Rule(False, top_k, sampling.top_p < 1.0, sampling.min_p > 0.0)


def filter_logits(
    logits: jax.Array,
    top_k: int | None = None,
    top_p: jax.Array | float | None = None,
    min_p: jax.Array | float | None = None,
) -> jax.Array:
    """Logits `[..., V]` float32 with -inf for every token that top-k, then top-p, then min-p exclude; None: no filter.

    Tokens that tie with the last one kept are kept too.
    """
    if top_k is not None:
        logits = _keep_most(logits, lambda kept: kept.sum(axis=-1, dtype=jnp.int32) >= top_k)
    if top_p is not None:
        weights = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
        needed = top_p * weights.sum(axis=-1)
        logits = _keep_most(logits, lambda kept: jnp.where(kept, weights, 0.0).sum(axis=-1) >= needed)
    if min_p is not None:
        least = logits.max(axis=-1, keepdims=True) + jnp.log(jnp.float32(min_p))
        logits = jnp.where(logits >= least, logits, -jnp.inf)
    return logits


def _keep_most(logits: jax.Array, enough: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The fewest largest logits for which `enough` (kept bool `[..., V]` -> bool `[...]`) holds; -inf elsewhere.

    A sort of the vocabulary would cost more than a small model's whole step. So this bisects for the threshold, over
    the bits of the floats, which order as integers do: exact after 32 passes.
    """
    bits = jax.lax.bitcast_convert_type(logits, jnp.int32)
    order = jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)

    def halve(_: jax.Array, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low & high) + ((low ^ high) >> 1)  # the mean, without overflow
        held = enough(order >= middle[..., None])
        return jnp.where(held, middle, low), jnp.where(held, high, middle)

    low, _ = jax.lax.fori_loop(0, 32, halve, (order.min(axis=-1), order.max(axis=-1) + 1))
    return jnp.where(order >= low[..., None], logits, -jnp.inf)


def choose(rule: Rule, logits: jax.Array, keys: jax.Array, knobs: Knobs) -> jax.Array:
    """The next token of each row, int32 `[R]`, from logits float32 `[R, V]` and keys `[R]`."""
    if rule.greedy:
        return _argmax(logits)
    top_p, min_p = knobs.top_p if rule.nucleus else None, knobs.min_p if rule.floor else None
    filtered = filter_logits(logits / knobs.temperature, rule.top_k, top_p, min_p)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[-1:], jnp.float32))(keys)
    return _argmax(filtered + noise)


def _argmax(x: jax.Array) -> jax.Array:
    """`jnp.argmax` over the last axis, int32, in two passes that vectorise: the one of XLA:CPU costs ten times as much.

    `[16, 2048]` takes 12 instead of 150 microseconds of a core, where a whole step of a small model takes 500.
    """
    size = x.shape[-1]
    places = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), x.shape)
    first = jnp.where(x == x.max(axis=-1, keepdims=True), places, size).min(axis=-1)
    return jnp.minimum(first, size - 1)  # of a row of NaN, which equals nothing
