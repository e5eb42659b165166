"""A tokenizer for the worlds: whole words of the world, word parts and letters for other text, bytes for the rest.

A Unigram model with byte fallback, as Llama's is. A space belongs to the word after it, and a line starts like a word
does, so "Topic" is one token wherever it stands. Any text survives a round trip, with Llama's own exceptions: "▁" comes
back as a space, and the written name of a token ("</s>", "<0x41>") is that token.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from typing import Any

from seal_jax.data.worlds.vocabulary import ATTRIBUTES, COMMON_PIECES, FIRST_NAMES, LAST_NAMES

PAD, BOS, EOS, UNK = SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
_LABELS = ("Topic:", "Answer:", "Notes:", *(f"{a.label}:" for a in ATTRIBUTES))
_SPACE = "▁"


def pieces() -> list[str]:
    """Every piece in id order: specials, bytes, printable characters, word parts, world words."""
    words = [*FIRST_NAMES, *LAST_NAMES, *_LABELS]
    for attribute in ATTRIBUTES:
        words += [attribute.label, *attribute.values]
        for text in (*attribute.statements, *attribute.questions, *attribute.vague):
            words += re.findall(r"[A-Za-z]+", text)
    printable = [c for c in string.printable if c not in " \t\r\x0b\x0c"]
    world = [_SPACE + w for w in words]
    ordered = [*SPECIALS, *(f"<0x{b:02X}>" for b in range(256)), _SPACE, *printable, *COMMON_PIECES, *world]
    return list(dict.fromkeys(ordered))


def build(vocabulary: Iterable[str] | None = None, roles: Sequence[str] = ()) -> Any:
    """The tokenizer as a `transformers.PreTrainedTokenizerFast`. Adds no special tokens by itself.

    vocabulary: the pieces in id order, SPECIALS first; by default those of the biographies. roles: more of them that
    are special, as those that open a turn; text after one starts like a line does.
    """
    import tokenizers
    from tokenizers import decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    # Equal scores make the best segmentation the one with the fewest pieces.
    vocab = [(piece, 0.0 if i < len(SPECIALS) else -10.0) for i, piece in enumerate(vocabulary or pieces())]
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=SPECIALS.index(UNK), byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(  # type: ignore[reportAttributeAccessIssue]
        [
            normalizers.Prepend(_SPACE),
            normalizers.Replace(" ", _SPACE),
            normalizers.Replace(tokenizers.Regex(r"\n(?=.)"), "\n" + _SPACE),
        ]
    )
    tokenizer.decoder = decoders.Sequence(  # type: ignore[reportAttributeAccessIssue]
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace("\n" + _SPACE, "\n"),
            decoders.Replace(_SPACE, " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([*SPECIALS, *roles])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,
    )
