"""Who grades the answers of a run: a rule, the model itself, or a served model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from seal_jax import generation, models
from seal_jax.evaluation import Case, EndpointError, Grader, chat, endpoint_grader, judge, rule_grader
from seal_jax.evaluation.judge import judge_prompts, judge_turns
from seal_jax.runtime.run import Run
from seal_jax.seal.settings import Answering

ROWS = 64
"""Cases that the model itself grades at once."""
_CODES = (False, True, None)


def make_grader(model: models.Model, answering: Answering) -> Grader:
    """The grader that the settings name; `model` grades, without an adapter, where that is "self".

    Verdicts are remembered as long as the grader lives, those of an endpoint also in `answering.endpoint.cache`. With
    several processes an endpoint is asked by process 0 alone. Raises ValueError for a judge template that is none.
    """
    if answering.grader == "rule":
        return rule_grader(answering.rule)
    if answering.grader == "self":
        return self_grader(model, answering)
    made = endpoint_grader(answering.endpoint, None, answering.judge, answering.judge_tokens)
    return _asked_once(made) if jax.process_count() > 1 else made


def kept_in(run: Run, answering: Answering) -> Answering:
    """The settings with the verdicts of an endpoint kept in the run's directory, unless they name another file."""
    if answering.grader != "endpoint" or answering.endpoint.cache is not None:
        return answering
    cache = run.path("grades", ".jsonl")
    return dataclasses.replace(answering, endpoint=dataclasses.replace(answering.endpoint, cache=cache))


def self_grader(model: models.Model, answering: Answering) -> Grader:
    """The model as its own judge: greedy, in the chat form if `answering.chat`.

    The verdict is in the whole reply of a chat model, and in the first line with text of a base model, which goes on
    after it. A case that does not fit the model's context is ungraded.
    """
    most, tokenizer = answering.judge_tokens, model.tokenizer

    def prompts_of(cases: Sequence[Case]) -> list[str]:
        if answering.chat:
            return [chat(tokenizer, *turns) for turns in judge_turns(cases, answering.judge)]
        return judge_prompts(cases, answering.judge)

    prompts_of([])  # a template that is none is told before any work

    def ask(cases: Sequence[Case]) -> list[str | None]:
        prompts = prompts_of(cases)
        lengths = [len(tokenizer.encode(prompt)) for prompt in prompts]
        fits = [i for i, length in enumerate(lengths) if length + most <= model.config.max_position]
        fits.sort(key=lengths.__getitem__)  # prompts of similar length together
        params = models.unroll(model.params)
        replies: list[str | None] = [None] * len(cases)
        for start in range(0, len(fits), ROWS):
            chunk = fits[start : start + ROWS]
            out = generation.generate(
                params, model.config, [prompts[i] for i in chunk], None, max_new_tokens=most, tokenizer=tokenizer
            )
            for i, text in zip(chunk, out.texts or ()):
                replies[i] = text if answering.chat else _first_line(text)
        return replies

    return judge(ask, again=False)


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _asked_once(grader: Grader) -> Grader:
    """The grader asked by process 0, and its verdicts, or that it failed, told to the others."""

    def grade(cases: Sequence[Case]) -> list[bool | None]:
        from jax.experimental import multihost_utils

        codes, failure = np.full(len(cases) + 1, -1, np.int8), None
        if jax.process_index() == 0:
            try:
                codes[1:] = [_CODES.index(verdict) for verdict in grader(cases)]
                codes[0] = 0
            except EndpointError as error:
                failure = error
        codes = np.asarray(multihost_utils.broadcast_one_to_all(codes))
        if codes[0] < 0:
            raise failure or EndpointError("process 0 could not use the endpoint that grades")
        return [_CODES[code] for code in codes[1:]]

    return grade
