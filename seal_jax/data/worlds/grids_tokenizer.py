"""The tokenizer of the grids world: one token per cell, per bracket group, per fragment of a JSON self-edit.

A Unigram model with byte fallback, as `worlds.tokenizer` is. A space belongs to what follows it, and a cell after "["
is written like one after a space, so that a colour is one and the same token wherever it stands. Any text survives a
round trip, with Llama's own exceptions: "▁" comes back as a space, and the written name of a token is that token.
"""

from __future__ import annotations

import re
import string
from typing import Any

PAD, BOS, EOS, UNK = "<pad>", "<s>", "<|end|>", "<unk>"
ROLES = ("<|system|>", "<|user|>")
SPECIALS = (PAD, BOS, EOS, UNK, *ROLES)
_SPACE = "▁"

_GRID = ("[[", "]\n [", "]] -> ", "]]#", "]]#\n", *(f" {colour}" for colour in range(10)))
_FLAGS = (
    '{"data_generation": {"use_basic_augmentations": ',
    ', "use_size_augmentations": ',
    ', "use_chain_augmentations": ',
    ', "use_repeat_augmentations": ',
)
_TRAINING = (
    '}, "training": {"strategy": "',
    "train_using_all_tokens",
    "train_using_output_tokens",
    '", "learning_rate": ',
    ', "num_train_epochs": ',
    "}}",
)
LEARNING_RATES = (1e-06, 3e-06, 1e-05, 3e-05, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] }}{% endif %}{% endfor %}"
)
"""System and user turns have an opening token, the assistant's an end token and no opening one: an answer follows its
question at the distance at which the output of a demonstration follows its input, so one circuit serves both."""


def _normal(text: str) -> str:
    """The text as the normaliser leaves it, but for a mark at its end, which belongs to the piece after it."""
    return re.sub(r"\[(?=.)", "[" + _SPACE, text.replace(" ", _SPACE))


def pieces() -> list[str]:
    """Every piece in id order: specials, bytes, printable characters, grids, JSON fragments, numbers."""
    printable = [c for c in string.printable if c not in " \t\r\x0b\x0c"]
    rates = [str(rate) for rate in LEARNING_RATES]
    world = [_normal(text) for text in (*_GRID, *_FLAGS, *_TRAINING, "true", "false", *rates, "edit")]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    return list(dict.fromkeys([*SPECIALS, *bytes_, _SPACE, *printable, *world]))


def build() -> Any:
    """The tokenizer as a `transformers.PreTrainedTokenizerFast` with a chat template. Adds no special tokens itself."""
    import tokenizers
    from tokenizers import decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    # Equal scores make the best segmentation the one with the fewest pieces.
    vocab = [(piece, 0.0 if i < len(SPECIALS) else -10.0) for i, piece in enumerate(pieces())]
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=SPECIALS.index(UNK), byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(  # type: ignore[reportAttributeAccessIssue]
        [normalizers.Replace(" ", _SPACE), normalizers.Replace("[", "[" + _SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(  # type: ignore[reportAttributeAccessIssue]
        [decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("[" + _SPACE, "["), decoders.Replace(_SPACE, " ")]
    )
    tokenizer.add_special_tokens(list(SPECIALS))
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = CHAT_TEMPLATE
    return made
