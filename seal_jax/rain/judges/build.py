"""Judges made of a model and a template: options in two orders, yes or no, three feelings."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from seal_jax.generation import prefill
from seal_jax.models import Config, Params, Shared, unroll
from seal_jax.rain.judge import Judge, check_room
from seal_jax.rain.judges.pieces import Pieces, tokenise
from seal_jax.rain.judges.template import Template, load
from seal_jax.rain.judges.verdict import Question, Verdict


def options(
    params: Params,
    config: Config,
    tokenizer: Any,
    template: str | Template = "harmless",
    *,
    hard: bool = True,
    shots: int | None = None,
    chat: bool = False,
    prefill_chunk: int | None = None,
) -> Judge:
    """A judge that asks a model which of some statements is true of a text, in two orders.

    template: the name of a shipped one, a file (see `template`), or one that was loaded. hard: each order is one vote,
    and the value their mean: -1, 0 or 1 for two options; else the expected value under the options' probabilities.
    shots: how many of the template's examples are shown, None for all. chat: ask in the tokenizer's chat format.
    prefill_chunk: tokens of the examples computed at once, None for all. params with stacked layers are copied once;
    pass `models.unroll(params)` to share them with other programs.

    A call is one forward pass over the texts and what follows them; the examples before are computed here, once.
    Raises ValueError for a template that is not of the form, answers that the tokenizer does not tell apart, and a
    prompt that leaves no room for a text; FileNotFoundError for a template that does not exist.
    """
    read, pieces = _read(config, tokenizer, template, shots, chat)
    params = unroll(params)
    question = Question(
        params=params,
        prefix=_prefix(params, config, pieces, prefill_chunk),
        common=jnp.asarray(pieces.common),
        branches=tuple(map(jnp.asarray, pieces.branches)),
        answers=jnp.asarray(pieces.answers),
        values=jnp.asarray([choice.value for choice in read.choices], jnp.float32),
    )
    return Judge(question, Verdict(config, hard), passes=1, extra_tokens=pieces.extra, room=_room(config, pieces))


def check(
    longest: int,
    config: Config,
    tokenizer: Any,
    template: str | Template,
    *,
    shots: int | None = None,
    chat: bool = False,
) -> int:
    """Tokens of what a judge of `options` shows before every text, found without weights.

    Raises as `options`, and ValueError for texts of up to `longest` tokens that do not fit behind it.
    """
    _, pieces = _read(config, tokenizer, template, shots, chat)
    check_room(_room(config, pieces), longest)
    return len(pieces.prefix)


def yes_no(params: Params, config: Config, tokenizer: Any, template: str | Template = "truthful", **how: Any) -> Judge:
    """A judge that asks a model for yes or no, in one order: `options` with a template that has [answers].

    how: as in `options`. A hard vote is 1 or -1. Raises ValueError also for a template with [options].
    """
    read = load(template) if isinstance(template, str) else template
    if read.listed:
        raise ValueError(f"{read.source} has [options]: a yes/no judge needs [answers], or use judges.options")
    return options(params, config, tokenizer, read, **how)


def sentiment(
    params: Params,
    config: Config,
    tokenizer: Any,
    template: str | Template = "sentiment",
    *,
    positive: bool = True,
    **how: Any,
) -> Judge:
    """A judge of the feeling a text expresses: positive, negative, or neutral in third place, which does not move.

    positive: whether texts are wanted to be positive; else the values are negated. how: as in `options`.
    """
    judge = options(params, config, tokenizer, template, **how)
    if positive:
        return judge
    question: Question = judge.arrays
    return dataclasses.replace(judge, arrays=dataclasses.replace(question, values=-question.values))


def _read(
    config: Config, tokenizer: Any, template: str | Template, shots: int | None, chat: bool
) -> tuple[Template, Pieces]:
    read = load(template) if isinstance(template, str) else template
    pieces = tokenise(read, config, tokenizer, shots, chat)
    if _room(config, pieces) < 1:
        raise ValueError(
            f"the judge's prompt from {read.source} has {pieces.room} tokens and leaves no room for a text in the "
            f"model's {config.max_position} positions: use fewer examples (shots) or a shorter template"
        )
    return read, pieces


def _room(config: Config, pieces: Pieces) -> int:
    return config.max_position - pieces.room


def _prefix(params: Params, config: Config, pieces: Pieces, chunk: int | None) -> tuple[Shared, ...]:
    """Keys and values of the prefix, without the pads of its program."""
    size = len(pieces.prefix)
    if not size:
        return ()
    part = prefill(params, config, pieces.prefix.tolist(), prefill_chunk=chunk).part
    last = slice(part.valid.shape[-1] - size, None)
    keys, values = (tuple(x[:, :, last] for x in layers) for layers in (part.keys, part.values))
    return (Shared(keys, values, part.positions[:, last], part.valid[:, last]),)
