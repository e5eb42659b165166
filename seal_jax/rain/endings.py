"""Where texts and sentences end, as tables over the vocabulary that a compiled search can look up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SENTENCE = (",", ".", "?", ":", ";", "\n")  # what a simulation stops at
FINAL = (".", "?", "!", "\n")  # what an unfinished text is cut back to
ANCHOR = "a"  # a token's text is what it adds to this: some decoders strip a space at the beginning


class Endings(NamedTuple):
    """What each of V tokens does to a text.

    sentence, final, eos: bool `[V]`. width: int32 `[V]`, characters. follow: int32 `[V, A]`, the state of a text after
    a token, by its state before: how much of a stop string it ends with, 0 nothing. States from `ended` int32 `[]` on
    are final: the last token completed a stop string that began `state - ended` characters before it.
    """

    sentence: jax.Array
    final: jax.Array
    eos: jax.Array
    width: jax.Array
    follow: jax.Array
    ended: jax.Array

    def advance(self, state: jax.Array, token: jax.Array, on: jax.Array) -> jax.Array:
        """States int32 `[...]` after tokens int32 `[...]`; unchanged where not `on`, or where the text has ended."""
        inside = jnp.minimum(state, self.ended - 1)
        return jnp.where(on & (state < self.ended), self.follow[jnp.maximum(token, 0), inside], state)

    def has_ended(self, state: jax.Array) -> jax.Array:
        """Whether texts in states int32 `[...]` are over, bool."""
        return state >= self.ended


def make_endings(
    tokenizer: Any, vocab_size: int, eos: Sequence[int], stop: Sequence[str], *, eos_ends: bool = True
) -> Endings:
    """Tables for texts that end at a token of eos (if `eos_ends`) or a string of stop.

    Without a tokenizer no sentence ends, and `stop` has to be empty. A stop string is found whatever tokens it is split
    into, unless they split one of its characters.
    """
    texts = token_texts(tokenizer, vocab_size)
    is_eos = np.zeros(vocab_size, bool)
    is_eos[list(eos)] = True
    follow, ended = _follow(texts, tuple(stop))
    if eos_ends:
        follow[is_eos] = ended
    width = np.array([0 if end else len(text) for text, end in zip(texts, is_eos)], np.int32)
    ends = lambda marks: jnp.asarray(np.array([text.endswith(marks) for text in texts]))  # noqa: E731
    return Endings(
        ends(SENTENCE), ends(FINAL), jnp.asarray(is_eos), jnp.asarray(width), jnp.asarray(follow), jnp.int32(ended)
    )


def token_texts(tokenizer: Any, vocab_size: int) -> list[str]:
    """The text of each token inside of a text; empty for special ones, or without a tokenizer."""
    if tokenizer is None:
        return [""] * vocab_size
    anchor = tokenizer.encode(ANCHOR, add_special_tokens=False)
    decode = lambda rows: tokenizer.batch_decode(  # noqa: E731
        rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    start = len(decode([anchor])[0])
    known = min(vocab_size, len(tokenizer))
    texts = decode([[*anchor, token] for token in range(known)])
    return [text[start:] for text in texts] + [""] * (vocab_size - known)


def _follow(texts: list[str], stops: tuple[str, ...]) -> tuple[np.ndarray, int]:
    """The table `follow` of `Endings` for stop strings alone, and its first final state."""
    states = sorted({stop[:n] for stop in stops for n in range(len(stop))} or {""}, key=len)
    alphabet = {char: i for i, char in enumerate(sorted(set("".join(stops))))}
    step, found = _steps(states, sorted(alphabet), stops)
    lengths = np.array([len(text) for text in texts])
    letters = np.full((len(texts), max(lengths.max(initial=0), 1)), len(alphabet), np.int32)
    for row, text in enumerate(texts):
        letters[row, : len(text)] = [alphabet.get(char, len(alphabet)) for char in text]
    state = np.tile(np.arange(len(states), dtype=np.int32), (len(texts), 1))
    final = np.full(state.shape, -1, np.int32)
    for at in range(letters.shape[1] if stops else 0):
        rows = np.flatnonzero(lengths > at)
        letter = letters[rows, at][:, None]
        size = found[state[rows], letter]
        ends = (size > 0) & (final[rows] < 0)
        final[rows] = np.where(ends, np.maximum(size - at - 1, 0), final[rows])
        state[rows] = step[state[rows], letter]
    return np.where(final >= 0, len(states) + final, state).astype(np.int32), len(states)


def _steps(states: list[str], alphabet: list[str], stops: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """By state and letter: the next state, and the length of the stop string that the letter completes, 0 for none.

    The last column is for letters that are in no stop string.
    """
    number = {state: i for i, state in enumerate(states)}
    step = np.zeros((len(states), len(alphabet) + 1), np.int32)
    found = np.zeros_like(step)
    for i, state in enumerate(states):
        for j, char in enumerate(alphabet):
            text = state + char
            step[i, j] = next(number[text[n:]] for n in range(len(text) + 1) if text[n:] in number)
            found[i, j] = max((len(stop) for stop in stops if text.endswith(stop)), default=0)
    return step, found
