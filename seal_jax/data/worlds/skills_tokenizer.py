"""The tokenizer of the skills world: a token per word, letter, digit and role; other text as in `worlds.tokenizer`."""

from __future__ import annotations

import string
from typing import Any

from seal_jax.data.worlds import tokenizer
from seal_jax.data.worlds.skills import LABELS
from seal_jax.data.worlds.skills_families import FAMILIES, LETTERS, NAMES

ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
WHICH_KIND = f"Which kind of question is this: {', '.join(LABELS)}? Answer in \\boxed{{}}."
"""The system turn of a classification. It is one token: what a real model reads in a hundred, this one reads in one."""

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def pieces() -> list[str]:
    """Every piece in id order: specials, roles, bytes, printable characters, words and the classification turn."""
    words = [word for family in FAMILIES.values() for wording in family.wordings for word in wording.split()]
    words += [*NAMES, *LETTERS, *string.digits, "and", "then"]
    printable = [c for c in string.printable if c not in " \t\r\x0b\x0c"]
    spaced = ["▁" + word for word in (*words, WHICH_KIND.replace(" ", "▁"), "\\boxed{")]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    return list(dict.fromkeys([*tokenizer.SPECIALS, *ROLES, *bytes_, "▁", *printable, *spaced, *LABELS]))


def build() -> Any:
    """The tokenizer as a `transformers.PreTrainedTokenizerFast` with a chat template. Adds no special tokens itself."""
    made = tokenizer.build(pieces(), ROLES)
    made.chat_template = CHAT_TEMPLATE
    return made
