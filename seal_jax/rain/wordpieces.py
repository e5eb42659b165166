"""From tokens of a language model to word pieces of an encoder, inside of a compiled program, by a table.

The table is made once: the word pieces of each token's own text. What a program then makes of a sequence is the
sequence's text, cut into pieces at its tokens' borders as well: " play" and "ing" give "play", "##ing" where the
encoder's tokenizer, which sees the word, might have the piece "playing". Bytes that are no character by themselves are
left out: of a character that is split over tokens nothing remains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MOST = 8  # word pieces of one token; further ones are left out


class Table(NamedTuple):
    """Word pieces of each token of a vocabulary of V, where it begins a word and where it goes on with one.

    pieces: int32 `[2, V, M]` (0: begins, 1: goes on), counts: int32 `[2, V]`; opens, closes: bool `[V]`, whether the
    token begins with, and ends in, a character that the encoder's tokenizer leaves within a word; ends: int32 `[2]`,
    the encoder's [CLS] and [SEP].
    """

    pieces: jax.Array
    counts: jax.Array
    opens: jax.Array
    closes: jax.Array
    ends: jax.Array


def make_table(tokenizer: Any, encoder_tokenizer: Any, vocab_size: int) -> Table:
    """The table for the tokens of `tokenizer` and the word pieces of `encoder_tokenizer`, a fast one of BERT.

    vocab_size: of the model, which may have more tokens than the tokenizer. Raises ValueError for an encoder's
    tokenizer that is not WordPiece.
    """
    vocabulary = encoder_tokenizer.get_vocab()
    special = (encoder_tokenizer.cls_token_id, encoder_tokenizer.sep_token_id, encoder_tokenizer.unk_token_id)
    if None in special or not any(piece.startswith("##") for piece in vocabulary):
        raise ValueError("the encoder's tokenizer is not WordPiece: it needs [CLS], [SEP], [UNK] and pieces like ##ing")
    texts = _texts(tokenizer, vocab_size)
    split = _splitter(encoder_tokenizer)
    words = [split(text) for text in texts]
    rows = [[_word_pieces(each, vocabulary, special[2], on)[:MOST] for each in words] for on in (False, True)]
    counts = np.array([[len(row) for row in each] for each in rows], np.int32)
    pieces = np.zeros((2, vocab_size, max(int(counts.max(initial=0)), 1)), np.int32)
    for each, target in zip(rows, pieces):
        for row, line in zip(each, target):
            line[: len(row)] = row
    within = {char for char in {end for text in texts for end in (text[:1], text[-1:])} if _is_within(split, char)}
    opens = np.array([text[:1] in within for text in texts])
    closes = np.array([text[-1:] in within for text in texts])
    ends = np.array(special[:2], np.int32)
    return Table(*map(jnp.asarray, (pieces, counts, opens, closes, ends)))


def word_pieces(table: Table, tokens: jax.Array, mask: jax.Array, width: int) -> tuple[jax.Array, jax.Array]:
    """The word pieces of one sequence, [CLS] and [SEP] around them: ids int32 and mask bool `[width]`.

    tokens: int32 `[L]`; mask: bool `[L]`, gaps allowed. What does not fit is cut. A sequence without any token, or
    with none that has a piece, is [CLS] [SEP].
    """
    columns = jnp.arange(len(tokens))
    latest = jax.lax.cummax(jnp.where(mask, columns, -1))
    before = jnp.concatenate([jnp.full((1,), -1, latest.dtype), latest[:-1]])
    on = (before >= 0) & table.closes[tokens[jnp.maximum(before, 0)]] & table.opens[tokens]
    kind = on.astype(jnp.int32)
    counts = jnp.where(mask, table.counts[kind, tokens], 0)
    pieces = table.pieces[kind, tokens]
    starts = 1 + jnp.cumsum(counts) - counts
    each = jnp.arange(pieces.shape[1])[None]
    places = jnp.where(each < counts[:, None], starts[:, None] + each, width)
    places = jnp.where(places < width - 1, places, width)
    ids = jnp.zeros((width,), jnp.int32).at[places].set(pieces, mode="drop")
    last = jnp.minimum(1 + counts.sum(), width - 1)
    ids = ids.at[0].set(table.ends[0]).at[last].set(table.ends[1])
    return ids, jnp.arange(width) <= last


def _texts(tokenizer: Any, vocab_size: int) -> list[str]:
    """What each token adds to a text, a space before it included; "" for special tokens and bytes."""
    [*_, anchor] = tokenizer.encode("a", add_special_tokens=False)
    size = min(len(tokenizer), vocab_size)
    known = tokenizer.batch_decode([[anchor, token] for token in range(size)], clean_up_tokenization_spaces=False)
    base = tokenizer.decode([anchor])
    special = set(tokenizer.all_special_ids)
    texts = ["" if token in special else text.removeprefix(base) for token, text in enumerate(known)]
    return [*texts, *[""] * (vocab_size - size)]


def _splitter(encoder_tokenizer: Any) -> Callable[[str], list[str]]:
    """A text's words and punctuation marks, as the encoder's tokenizer normalises and separates them."""
    backend = encoder_tokenizer.backend_tokenizer

    def split(text: str) -> list[str]:
        text = text.replace("\ufffd", "")
        text = backend.normalizer.normalize_str(text) if backend.normalizer is not None else text
        return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]

    return split


def _is_within(split: Callable[[str], list[str]], char: str) -> bool:
    """Whether words go on across a character: neither a space nor one that is isolated, as punctuation and CJK are."""
    return char not in ("", "\ufffd") and len(split(f"a{char}a")) == 1


def _word_pieces(words: list[str], vocabulary: Mapping[str, int], unknown: int, on: bool) -> list[int]:
    """The longest pieces of each word from the left; on: the first word goes on with one before it."""
    found = []
    for number, word in enumerate(words):
        pieces, rest = [], "##" + word if on and number == 0 else word
        while rest not in ("", "##"):
            size = next((n for n in range(len(rest), 0, -1) if rest[:n] in vocabulary and rest[:n] != "##"), 0)
            if not size:
                pieces = [unknown]
                break
            pieces.append(vocabulary[rest[:size]])
            rest = "##" + rest[size:]
        found += pieces
    return found
