"""What a row has said already changes what it may say next: penalties, n-grams, and a least length.

The numbers are those of the logits processors of transformers, and of vLLM for presence and frequency. Each part that
is off has no array and no line in the compiled program.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.generation.checks import LARGEST, SMALLEST, check_integer, check_number


@dataclasses.dataclass(frozen=True)
class Controls:
    """Limits on repetition; the prompt counts as said, pads do not.

    repetition_penalty: logits of tokens that occur in prompt or continuation are divided (where positive) or multiplied
    by it; 1.0 is off. presence_penalty and frequency_penalty are subtracted from the logits of tokens of the
    continuation, once and once per occurrence; 0.0 is off. no_repeat_ngram_size: no n-gram of this size occurs twice in
    prompt and continuation; 0 is off. min_new_tokens: no EOS before so many tokens (a stop string may still end a row).

    Raises ValueError for a value outside these ranges.
    """

    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    min_new_tokens: int = 0

    def __post_init__(self) -> None:
        expected = f"a positive number from {SMALLEST} to {LARGEST}, 1.0 for none"
        check_number("repetition_penalty", self.repetition_penalty, expected, SMALLEST, LARGEST)
        for name in ("presence_penalty", "frequency_penalty"):
            expected = f"a number from {-LARGEST} to {LARGEST}, 0.0 for none"
            check_number(name, getattr(self, name), expected, -LARGEST, LARGEST)
        for name in ("no_repeat_ngram_size", "min_new_tokens"):
            check_integer(name, getattr(self, name), "an integer, 0 (off) or more", 0)


class ControlRule(NamedTuple):
    """The part of `Controls` that shapes a program; the penalties and the least length themselves are data."""

    repetition: bool = False
    counted: bool = False
    ngram: int = 0
    minimum: bool = False

    @property
    def reads_prompts(self) -> bool:
        """Whether what the prompts say matters."""
        return self.repetition or self.ngram > 0


def control_rule(controls: Controls) -> ControlRule:
    """The program that `controls` needs: what would change nothing is left out of it."""
    return ControlRule(
        controls.repetition_penalty != 1.0,
        controls.presence_penalty != 0.0 or controls.frequency_penalty != 0.0,
        controls.no_repeat_ngram_size,
        controls.min_new_tokens > 0,
    )


class Penalties(NamedTuple):
    """Settings as data: float32 `[]` each, `minimum` int32 `[]`, and `eos` bool `[V]`, what may not come before it."""

    repetition: jax.Array
    presence: jax.Array
    frequency: jax.Array
    minimum: jax.Array
    eos: jax.Array


class History(NamedTuple):
    """What R rows have said, as far as a rule asks; None where it does not.

    seen bool `[R, V]`: tokens of prompt and continuation; counts int32 `[R, V]`: of the continuation;
    text int32 `[R, C + M]`: the prompt in the first C columns, at their right end, then the continuation; -1 elsewhere.
    """

    seen: jax.Array | None
    counts: jax.Array | None
    text: jax.Array | None


def open_history(rule: ControlRule, context: jax.Array | None, rows: int, vocab: int, room: int) -> History:
    """The history of rows that have said nothing new. context: prompts int32 `[R, C]`, -1 left of them, if needed."""
    seen = text = None
    if rule.repetition:
        assert context is not None
        seen = _mark(jnp.zeros((rows, vocab), bool), context, context >= 0)
    if rule.ngram:
        assert context is not None
        text = jnp.pad(context, ((0, 0), (0, room)), constant_values=-1)
    return History(seen, jnp.zeros((rows, vocab), jnp.int32) if rule.counted else None, text)


def grow_history(history: History, more: int) -> History:
    """Room for `more` further tokens."""
    if history.text is None:
        return history
    return history._replace(text=jnp.pad(history.text, ((0, 0), (0, more)), constant_values=-1))


def remember(history: History, token: jax.Array, step: jax.Array, room: int) -> History:
    """The history after each row has said `token` (int32 `[R]`) as its new token number `step` of `room`."""
    seen, counts, text = history
    rows = jnp.arange(len(token))
    if seen is not None:
        seen = seen.at[rows, token].set(True)
    if counts is not None:
        counts = counts.at[rows, token].add(1)
    if text is not None:
        at = text.shape[1] - room + step
        text = jax.lax.dynamic_update_slice_in_dim(text, token[:, None], at, axis=1)
    return History(seen, counts, text)


def control(
    rule: ControlRule, logits: jax.Array, history: History, penalties: Penalties, step: jax.Array, room: int
) -> jax.Array:
    """Logits float32 `[R, V]` as `rule` changes them before new token number `step` of `room`; -inf: forbidden."""
    if history.seen is not None:
        penalised = jnp.where(logits < 0, logits * penalties.repetition, logits / penalties.repetition)
        logits = jnp.where(history.seen, penalised, logits)
    if history.counts is not None:
        counts = history.counts.astype(jnp.float32)
        logits = logits - penalties.frequency * counts - penalties.presence * (counts > 0).astype(jnp.float32)
    if history.text is not None:
        banned = _repeated(rule.ngram, history.text, history.text.shape[1] - room + step, logits.shape[1])
        logits = jnp.where(banned, -jnp.inf, logits)
    if rule.minimum:
        early = penalties.eos[None] & (step < penalties.minimum)
        logits = jnp.where(early, -jnp.inf, logits)
    return logits


def _repeated(size: int, text: jax.Array, end: jax.Array, vocab: int) -> jax.Array:
    """Tokens that would complete an n-gram of `text[:, :end]` a second time: bool `[R, vocab]`."""
    tail = jax.lax.dynamic_slice_in_dim(text, end - (size - 1), size - 1, axis=1)
    starts = text.shape[1] - size + 1
    match = jnp.broadcast_to((tail >= 0).all(axis=1, keepdims=True), (len(text), starts))
    for i in range(size - 1):
        match &= text[:, i : i + starts] == tail[:, i : i + 1]
    return _mark(jnp.zeros((len(text), vocab), bool), text[:, size - 1 :], match & (text[:, size - 1 :] >= 0))


def _mark(table: jax.Array, tokens: jax.Array, which: jax.Array) -> jax.Array:
    """Set `table[r, tokens[r, c]]` wherever `which[r, c]`."""
    beyond = table.shape[1]  # an index that is dropped
    return table.at[jnp.arange(len(table))[:, None], jnp.where(which, tokens, beyond)].set(True, mode="drop")
