"""What a path of the tree is about, as a vector of unit length: by which similar continuations learn of each other.

An embedding is a function `(tokens, hidden, mask, starts) -> float32 [B, J, E]` of B paths. tokens: int32 `[B, L]`;
hidden: `[B, L, D]`, the base model's final hidden states at those tokens; mask: bool `[B, L]`, True on real tokens, on
either side or with gaps; starts: int32 `[B, J]`. Entry j is about the real tokens of columns `starts[j]` and later,
and 0 where there is none. Both are pytrees, arguments of the program that calls them.

Vectors have unit length because widening compares the variance of children's embeddings with a fixed threshold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from seal_jax.models import Config
from seal_jax.rain.encoder import Encoder, load_encoder, unit
from seal_jax.rain.wordpieces import Table, make_table, word_pieces


@struct.dataclass
class HiddenMean:
    """The mean final hidden state of the base model over a path's tokens. It costs no pass of its own."""

    def width(self, config: Config) -> int:
        """E, the length of the vectors for a base model."""
        return config.hidden_size

    def __call__(self, tokens: jax.Array, hidden: jax.Array, mask: jax.Array, starts: jax.Array) -> jax.Array:
        """See the module; a token without a hidden state has to be masked."""
        weights = _spans(mask, starts).astype(jnp.float32)
        states = jnp.where(mask[:, :, None], hidden.astype(jnp.float32), 0.0)
        return unit(jnp.einsum("bjl,bld->bjd", weights, states))


@struct.dataclass
class Sentence:
    """A sentence encoder's vector of a path's text; hidden states are not read.

    encoder, table: of the encoder and from the base model's tokens to its word pieces.
    """

    encoder: Encoder
    table: Table

    def width(self, config: Config) -> int:
        """E, the length of the vectors."""
        return self.encoder.config.hidden_size

    def __call__(self, tokens: jax.Array, hidden: jax.Array, mask: jax.Array, starts: jax.Array) -> jax.Array:
        """See the module. A text is cut to the encoder's length, and to twice as many pieces as there are columns.

        A text without a word piece, of characters that are split over tokens for instance, is 0: it is like no other.
        """
        spans = _spans(mask, starts)
        rows, count, length = spans.shape
        width = min(self.encoder.config.max_length, 2 * length + 2)
        each = jnp.repeat(tokens, count, axis=0), spans.reshape(-1, length)
        ids, real = jax.vmap(lambda t, m: word_pieces(self.table, t, m, width))(*each)
        vectors = self.encoder(ids, real).reshape(rows, count, -1)
        said = real.sum(axis=-1).reshape(rows, count, 1) > 2  # anything but [CLS] and [SEP]
        return jnp.where(said, vectors, 0.0)


def hidden_mean() -> HiddenMean:
    """The default embedding."""
    return HiddenMean()


def sentence(path: str | Path, tokenizer: Any, config: Config, dtype: str = "float32") -> Sentence:
    """A sentence encoder from a local directory (as of all-MiniLM-L6-v2), for texts of a base model's tokens.

    tokenizer, config: of the base model. Raises CheckpointError for a directory that is no BERT of safetensors with
    mean pooling, and ValueError for one without a WordPiece tokenizer.
    """
    from transformers import AutoTokenizer

    encoder = load_encoder(path, dtype)
    theirs = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    return Sentence(encoder, make_table(tokenizer, theirs, config.vocab_size))


def _spans(mask: jax.Array, starts: jax.Array) -> jax.Array:
    """Which columns each entry is about: bool `[B, J, L]`."""
    columns = jnp.arange(mask.shape[1])[None, None]
    return mask[:, None] & (columns >= starts[:, :, None])
