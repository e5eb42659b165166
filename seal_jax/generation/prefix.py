"""A prompt's beginning, computed once and continued by many rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.generation import decode
from seal_jax.generation.bank import bank_of, check_count, form_of, pick
from seal_jax.generation.checks import check_integer
from seal_jax.generation.prompts import Prompt, bucket, encode_one, pad_left
from seal_jax.generation.sampling import Rule
from seal_jax.generation.state import Program
from seal_jax.models import Config, Params, Shared, unroll
from seal_jax.runtime.mesh import mesh_of, use

JOINED = 4  # tokens at the end of a prefix that a tokenizer may have joined with what follows


class Prefix(NamedTuple):
    """Keys and values of the tokens that prompts begin with, stored once for all rows; made by `prefill`.

    tokens: int32 `[P]`; config: of the model; part: its slots, one sequence, `[1, ...]`, or with adapters
    `[N + 1, 1, ...]`, the base model last; adapters: N, None without.
    """

    tokens: np.ndarray
    config: Config
    part: Shared
    adapters: int | None


def prefill(
    params: Params,
    config: Config,
    prompt: Prompt,
    tokenizer: Any = None,
    *,
    prefill_chunk: int | None = None,
    adapters: Any = None,
    factors: Any = None,
    compose: str = "scaled",
) -> Prefix:
    """Compute what prompts have in common, for `generate(..., prefix=)` on any number of rows.

    prompt: token ids; or with a tokenizer a string, or messages (the template's prompt for an answer is left out).
    prefill_chunk: tokens computed at once, None for all. adapters, factors, compose: the prefix under each of N
    adapters, as in `generate`, for use with the same ones.

    A prefix is what these parameters and adapters make of the tokens: used with others, or with the same adapters in
    another order, it gives other tokens, and of that only another config or number of adapters is noticed.

    Raises ValueError before any work for an empty prompt, a token outside the vocabulary, one that leaves no room in
    `config.max_position`, or a bad chunk.
    """
    tokens = encode_one("the prefix", prompt, config, tokenizer, answer=False)
    if len(tokens) >= config.max_position:
        raise ValueError(f"the prefix has {len(tokens)} tokens, which fill the model's {config.max_position} positions")
    length = padded_length(len(tokens), prefill_chunk)
    bank, rows = None, 1
    if adapters is not None:
        rows = check_count(adapters) + 1
        bank = pick(bank_of(adapters, factors, compose), jnp.array([*range(rows - 1), -1]))
    padded, mask = pad_left([tokens] * rows, rows, length)
    form = "auto" if bank is None else form_of([-1])
    program = Program(config, Rule(True, None, False), compose=compose, form=form)
    params = unroll(params) if isinstance(params["layers"], tuple) else _unrolled(params)
    cache = None
    for at in chunks(length, prefill_chunk or length):
        with use(mesh_of(params)):
            cache = decode.extend(params, bank, (), cache, padded[:, at], mask[:, at], program=program, slots=length)
    assert cache is not None, "a prefix has at least one token"
    return Prefix(tokens, config, Shared(*cache[:4]), None if bank is None else rows - 1)


_unrolled = jax.jit(unroll)


def padded_length(length: int, chunk: int | None) -> int:
    """Columns for prompts of up to `length` tokens: a bucket, or a whole number of chunks."""
    if chunk is None:
        return bucket(length, least=8)
    check_integer("prefill_chunk", chunk, "None (all at once) or a positive number of tokens", 1)
    return min(bucket(length, least=8), chunk) if length <= chunk else -(-length // chunk) * chunk


def chunks(length: int, chunk: int) -> list[slice]:
    """The columns of each chunk, in order."""
    return [slice(at, min(at + chunk, length)) for at in range(0, length, chunk)]


def check(prefix: Prefix, config: Config, adapters: int | None) -> None:
    """Raise ValueError if the prefix was made with another config, or with other adapters."""
    if prefix.config != config:
        raise ValueError("prefix was made with another config than that of this model")
    if prefix.adapters != adapters:
        name = lambda n: "no adapters" if n is None else f"{n} adapters"  # noqa: E731
        raise ValueError(f"prefix was made with {name(prefix.adapters)}, and this call has {name(adapters)}")


def shared_length(prefix: Prefix, prompts: Sequence[np.ndarray], where: str = "") -> int:
    """How many tokens of the prefix all prompts begin with, leaving each at least one of its own.

    Raises ValueError, naming the row and the first difference, for a prompt that does not continue the prefix. Its last
    few tokens may differ: a tokenizer joins characters across the end of a prefix.
    """
    shared = len(prefix.tokens)
    for row, prompt in enumerate(prompts):
        size = min(len(prefix.tokens), len(prompt))
        differ = np.flatnonzero(prompt[:size] != prefix.tokens[:size])
        same = int(differ[0]) if len(differ) else size
        if same < max(len(prefix.tokens) - JOINED, 1):
            raise ValueError(
                f"{where}prompt {row} does not continue the prefix of {len(prefix.tokens)} tokens: "
                + (f"its token {same} is another" if len(differ) else f"it has {len(prompt)} tokens")
            )
        shared = min(shared, same, len(prompt) - 1)
    return shared


def used_part(prefix: Prefix, length: int, ids: np.ndarray | None) -> Shared:
    """The first `length` tokens of the prefix, for the adapters `ids` `[N]` (-1: the base model)."""
    part = prefix.part
    counted = part.valid & (part.positions < length)
    part = part._replace(valid=counted)
    return part if ids is None else jax.tree.map(lambda x: x[ids], part)
