"""Prompt templates: plain text with {placeholders}, read and filled in one place."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Collection
from typing import Any

PROMPTS = pathlib.Path(__file__).parent / "prompts"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def load_template(name_or_path: str, fields: Collection[str], folder: pathlib.Path = PROMPTS) -> str:
    """The text of a shipped template (`folder/NAME.txt`) or of a file, checked against the fields it must use.

    The last line end of the file belongs to the file and not to the template, so a template that ends in a line end
    has an empty last line. Raises ValueError naming a placeholder that is unknown or missing, or a file that is not
    UTF-8, and FileNotFoundError naming the shipped templates.
    """
    path = folder / f"{name_or_path}.txt"
    if not path.is_file():
        path = pathlib.Path(name_or_path)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.txt")))
        raise FileNotFoundError(f"template {name_or_path!r} is neither a file nor one of {known}")
    try:
        text = path.read_bytes().decode("utf-8").replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text, at byte {error.start}") from None
    found = set(_PLACEHOLDER.findall(text))
    for wrong, what in ((found - set(fields), "unknown"), (set(fields) - found, "missing")):
        if wrong:
            names = ", ".join(f"{{{name}}}" for name in sorted(wrong))
            raise ValueError(f"{path}: {what} placeholder {names}; this template uses {sorted(fields)}")
    return text


def fill(template: str, **values: str) -> str:
    """The template with each `{name}` replaced by its value; braces inside a value are left alone."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def chat(tokenizer: Any, system: str, user: str) -> str:
    """A system and a user turn in the tokenizer's chat format, up to where the model's turn begins.

    A BOS that the tokenizer would add again on encoding is left out. Raises ValueError for a tokenizer without a
    chat template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("this tokenizer has no chat template; use the base form of the prompt (leave out chat)")
    turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    bos = tokenizer.bos_token
    return text.removeprefix(bos) if bos and tokenizer.encode("")[:1] == [tokenizer.bos_token_id] else text
