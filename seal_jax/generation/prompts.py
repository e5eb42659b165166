"""From what a caller passes to arrays of few distinct shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from seal_jax.data.chat import DATE
from seal_jax.generation.checks import check_prompt, check_prompts
from seal_jax.models import Config

Prompt: TypeAlias = str | Sequence[int] | Sequence[Mapping[str, Any]]  # text, token ids, or messages


def bucket(size: int, least: int = 1) -> int:
    """The smallest of `least` * 1, 1.5 (where whole), 2, 3, 4, 6, 8, ... that is at least `size`."""
    power = least
    while power < size:
        if 2 * size <= 3 * power and power % 2 == 0:
            return 3 * power // 2
        power *= 2
    return power


def encode(
    prompts: Sequence[Prompt], config: Config, tokenizer: Any = None, where: str = "", answer: bool = True
) -> list[np.ndarray]:
    """Prompts as int32 `[length]` arrays.

    A string is tokenised with the tokenizer's own special tokens; one that begins with the BOS is not given a second
    one. A list of messages, `{"role", "content"}` each, becomes text by the tokenizer's chat template, up to where the
    answer begins (or, without `answer`, the end of the last message), with 26 July 2024 for the date where the template
    states today's, as Llama 3.2's does. where: put before "prompt 3" in messages.

    Raises ValueError, naming the row, for a string or messages without a tokenizer, messages without a chat template or
    which it refuses, an empty prompt or a token outside the vocabulary; and for what is no list of prompts.
    """
    check_prompts(prompts, where)
    return [encode_one(f"{where}prompt {row}", p, config, tokenizer, answer) for row, p in enumerate(prompts)]


def encode_one(name: str, prompt: Prompt, config: Config, tokenizer: Any = None, answer: bool = True) -> np.ndarray:
    """One prompt, as `encode` does; `name` is what messages call it."""
    check_prompt(name, prompt)
    chat = not isinstance(prompt, str) and len(prompt) > 0 and isinstance(prompt[0], Mapping)
    if isinstance(prompt, str) or chat:
        if tokenizer is None:
            kind = "messages" if chat else "a string"
            raise ValueError(f"{name} is {kind}: pass tokenizer=, or prompts as lists of token ids")
        prompt = _from_chat(name, prompt, tokenizer, answer) if chat else _from_text(str(prompt), tokenizer)
    try:
        tokens = np.asarray(prompt)
    except ValueError:
        raise ValueError(f"{name} is not a flat list of token ids: it has lists of different lengths") from None
    if tokens.size == 0:
        raise ValueError(f"{name} is empty: generation needs at least one token, such as BOS")
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"{name} is not a flat list of token ids: got {tokens.dtype} of shape {tokens.shape}")
    outside = tokens[(tokens < 0) | (tokens >= config.vocab_size)]
    if outside.size:
        raise ValueError(f"{name} has token {outside[0]}, outside the vocabulary 0..{config.vocab_size - 1}")
    return tokens.astype(np.int32)


def _from_text(text: str, tokenizer: Any) -> list[int]:
    tokens = tokenizer.encode(text)
    bos = getattr(tokenizer, "bos_token", None)
    twice = bos and text.startswith(bos) and tokens[:2] == [tokenizer.bos_token_id] * 2
    return tokens[1:] if twice else tokens


def _from_chat(name: str, messages: Any, tokenizer: Any, answer: bool) -> list[int]:
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(f"{name} is messages, but the tokenizer has no chat template: pass text, or set its template")
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str) or "content" not in message:
            raise ValueError(f'{name}: message {number} is {message!r}, not {{"role": ..., "content": ...}}')
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=answer, tokenize=True, return_dict=False, date_string=DATE
        )
    except TemplateError as error:
        raise ValueError(f"{name}: the tokenizer's chat template refuses the messages: {error}") from None


def row_limits(
    max_new_tokens: int | Sequence[int], prompts: list[np.ndarray], config: Config, where: str = ""
) -> np.ndarray:
    """New tokens allowed to each row: int32 `[rows]`, from one number or one per row.

    Raises ValueError if the numbers do not fit the rows, are negative, or lead past `config.max_position`.
    """
    limits = np.asarray(max_new_tokens if np.size(max_new_tokens) else np.zeros(0, np.int32))
    if limits.shape not in ((), (len(prompts),)) or not np.issubdtype(limits.dtype, np.integer):
        raise ValueError(
            f"{where}max_new_tokens of shape {limits.shape} and type {limits.dtype} for {len(prompts)} prompts: "
            "expected one integer, or one integer per prompt"
        )
    limits = np.broadcast_to(limits, (len(prompts),))
    for row, (prompt, limit) in enumerate(zip(prompts, limits)):
        if limit < 0:
            raise ValueError(f"max_new_tokens is {limit} for {where}prompt {row}: expected 0 or more")
        if len(prompt) + limit > config.max_position:
            raise ValueError(
                f"{where}prompt {row} has {len(prompt)} tokens and may grow by {limit}, together more "
                f"than the model's {config.max_position} positions"
            )
    return limits.astype(np.int32)


def pad_left(prompts: Sequence[np.ndarray], rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 and mask bool `[rows, length]`, each prompt at the right end; missing rows are all padding."""
    tokens = np.zeros((rows, length), np.int32)
    mask = np.zeros((rows, length), bool)
    for row, prompt in enumerate(prompts):
        tokens[row, length - len(prompt) :] = prompt
        mask[row, length - len(prompt) :] = True
    return tokens, mask
