"""The tokenizer of the dialogue world: a token per word and per sentence end; other text as in `worlds.tokenizer`."""

from __future__ import annotations

import re
import string
from typing import Any

from seal_jax.data.worlds import dialogue_questions as questions
from seal_jax.data.worlds import dialogue_words as world
from seal_jax.data.worlds import tokenizer


def pieces() -> list[str]:
    """Every piece in id order: specials, bytes, printable characters, words of the world."""
    text = [
        *(wording.text for wording in world.WORDINGS),
        *world.TOOL_FIRST,
        *world.TOOL_THEN,
        *(form for forms in (*world.MANNER, *world.PERSON) for form in forms),
        *world.EVASIONS,
        *world.NEGATIONS,
        questions.WORDS,
    ]
    words = [*re.findall(r"[A-Za-z]+", " ".join(re.sub(r"\{\w+\}", " ", piece) for piece in text))]
    words += [*world.THINGS, *world.TOOLS, *world.STATES, *world.PEOPLE]
    words += [*world.KIND, *world.RUDE, *world.CAREFUL, *world.RECKLESS, "Human:", "Assistant:", "Question:", "("]
    lines = ["\n▁" + word for word in ("Human:", "Assistant:", "Question:", "Answer:", "(")]
    printable = [c for c in string.printable if c not in " \t\r\x0b\x0c"]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    return list(dict.fromkeys([*tokenizer.SPECIALS, *bytes_, "▁", *printable, *lines, *("▁" + word for word in words)]))


def build() -> Any:
    """The tokenizer as a `transformers.PreTrainedTokenizerFast`. Adds no special tokens by itself."""
    return tokenizer.build(pieces())
