"""From what a caller passes to arrays of few distinct shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seal_jax.models import Config


def bucket(size: int, least: int = 1) -> int:
    """The smallest of `least` * 1, 1.5 (where whole), 2, 3, 4, 6, 8, ... that is at least `size`."""
    power = least
    while power < size:
        if 2 * size <= 3 * power and power % 2 == 0:
            return 3 * power // 2
        power *= 2
    return power


def encode(
    prompts: Sequence[str | Sequence[int]], config: Config, tokenizer: Any = None, where: str = ""
) -> list[np.ndarray]:
    """Prompts as int32 `[length]` arrays; strings are tokenised with the tokenizer's own special tokens (BOS).

    where: put before "prompt 3" in messages.

    Raises ValueError for a string without a tokenizer, an empty prompt or a token outside the vocabulary, naming
    the row.
    """
    if isinstance(prompts, str):
        raise ValueError("prompts is one string: pass a list of prompts")
    return [_encode(f"{where}prompt {row}", prompt, config, tokenizer) for row, prompt in enumerate(prompts)]


def _encode(name: str, prompt: str | Sequence[int], config: Config, tokenizer: Any) -> np.ndarray:
    if isinstance(prompt, str):
        if tokenizer is None:
            raise ValueError(f"{name} is a string: pass tokenizer=, or prompts as lists of token ids")
        prompt = tokenizer.encode(prompt)
    tokens = np.asarray(prompt)
    if tokens.size == 0:
        raise ValueError(f"{name} is empty: generation needs at least one token, such as BOS")
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"{name} is not a flat list of token ids: got {tokens.dtype} of shape {tokens.shape}")
    outside = tokens[(tokens < 0) | (tokens >= config.vocab_size)]
    if outside.size:
        raise ValueError(f"{name} has token {outside[0]}, outside the vocabulary 0..{config.vocab_size - 1}")
    return tokens.astype(np.int32)


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
    limits = np.broadcast_to(limits, (len(prompts),)).astype(np.int32)
    for row, (prompt, limit) in enumerate(zip(prompts, limits)):
        if limit < 0:
            raise ValueError(f"max_new_tokens is {limit} for {where}prompt {row}: expected 0 or more")
        if len(prompt) + limit > config.max_position:
            raise ValueError(
                f"{where}prompt {row} has {len(prompt)} tokens and may grow by {limit}, together more "
                f"than the model's {config.max_position} positions"
            )
    return limits


def pad_left(prompts: Sequence[np.ndarray], rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 and mask bool `[rows, length]`, each prompt at the right end; missing rows are all padding."""
    tokens = np.zeros((rows, length), np.int32)
    mask = np.zeros((rows, length), bool)
    for row, prompt in enumerate(prompts):
        tokens[row, length - len(prompt) :] = prompt
        mask[row, length - len(prompt) :] = True
    return tokens, mask
