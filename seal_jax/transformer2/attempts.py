"""Attempts: what a model, adapted or not, answers to the problems of a task, graded."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from seal_jax import generation, models
from seal_jax.data.problems import Problem
from seal_jax.evaluation.matrix import known_error, known_mean
from seal_jax.generation.prompts import encode_one
from seal_jax.transformer2.tasks import Task, grade_all
from seal_jax.transformer2.update import Attach, layered


class Attempt(NamedTuple):
    """One completion of one problem.

    tokens: generated ids, without EOS and without a stop string; text: theirs, up to the stop string; correct: the
    grader's verdict, None if it could not be graded; logprob: the sum of the tokens' log-probabilities in nats under
    the model that wrote them, at temperature 1 and without filters; finished: it ended by itself and not by the limit;
    eos: the token that ended it, None where that was a stop string or the limit.
    """

    tokens: list[int]
    text: str
    correct: bool | None
    logprob: float
    finished: bool
    eos: int | None = None


def attempt(
    model: models.Model,
    task: Task,
    problems: Sequence[Problem],
    *,
    adapters: Any = None,
    adapter_ids: Sequence[int] | None = None,
    factors: Any = None,
    compose: str = "scaled",
    one_program: bool = False,
    temperature: float = 0.0,
    samples: int = 1,
    key: jax.Array | None = None,
    rows: int = 64,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[Attempt]]:
    """`samples` graded completions of every problem: greedy at temperature 0, else sampled with `key`.

    adapters: a tree whose leaves lead with an axis N; adapter_ids: which of them each problem is asked of, -1 for the
    base model; factors, compose: as in `adapters.attach`; one_program: as in `generation.generate`. rows: completions
    that are decoded at once; problems of like length share a batch, and shapes are bucketed. A draw depends on `key`,
    the problem's id and the number of the sample alone. on_progress: called with the number of problems done since the
    last call.

    Before calling this in a loop, unroll the parameters (`models.unroll`) and cut the factors up (`update.layered`): of
    what is stacked each call makes a copy. A completion ends where the context does, if that is before
    `task.max_new_tokens`. Raises ValueError naming a problem whose prompt leaves no room to answer, and
    as `generation.generate`.
    """
    prompts = encode_problems(model, task, problems)
    _check_ids(adapters, adapter_ids, len(problems))
    model, factors = model._replace(params=models.unroll(model.params)), layered(factors, model.config)
    ids = np.zeros(len(problems), int) if adapter_ids is None else np.asarray(adapter_ids)
    found: list[list[Attempt]] = [[] for _ in problems]
    order = sorted(range(len(problems)), key=lambda i: (len(prompts[i]), i))
    at_once = max(rows // samples, 1)
    for start in range(0, len(order), at_once):
        chunk = order[start : start + at_once]
        params, how = _adapted(model.params, adapters, ids[chunk], factors, compose, one_program)
        out = generation.generate(
            params,
            model.config,
            [prompts[i].tolist() for i in chunk],
            key,
            [min(task.max_new_tokens, model.config.max_position - len(prompts[i])) for i in chunk],
            temperature,
            stop=task.stop,
            tokenizer=model.tokenizer,
            row_ids=[_row_id(problems[i]) for i in chunk],
            samples=samples,
            **how,
        )
        texts = out.texts or [""] * len(out.tokens)
        asked = [problems[i] for i in chunk for _ in range(samples)]
        verdicts = grade_all(task.grade, list(zip(asked, texts, strict=True)))
        for place, i in enumerate(chunk):
            found[i] = [_graded(out, n, verdicts[n]) for n in range(place * samples, (place + 1) * samples)]
        if on_progress:
            on_progress(len(chunk))
    return found


def under(adapter: Any, count: int, factors: Any = None, compose: str = "scaled") -> dict[str, Any]:
    """Arguments of `attempt` with which one adapter, or for None the base, answers all of `count` problems."""
    if adapter is None:
        return {}
    stacked = jax.tree.map(lambda x: x[None], adapter)
    return {"adapters": stacked, "adapter_ids": [0] * count, "factors": factors, "compose": compose}


def encode_problems(model: models.Model, task: Task, problems: Sequence[Problem]) -> list[np.ndarray]:
    """The prompts as int32 `[length]`. Raises ValueError naming a problem that has none or leaves no room to answer."""
    if model.tokenizer is None:
        raise ValueError(f"task {task.name!r} is text and this model has no tokenizer: load it from a folder with one")
    prompts = []
    for problem in problems:
        where = f"task {task.name!r}, problem {problem.id!r}: the prompt"
        prompts.append(encode_one(where, problem.prompt, model.config, model.tokenizer))
        if len(prompts[-1]) >= model.config.max_position:
            raise ValueError(
                f"{where} has {len(prompts[-1])} tokens and fills the model's context of {model.config.max_position}"
            )
    return prompts


def accuracy(attempts: Sequence[Sequence[Attempt]]) -> tuple[float, float]:
    """Share of right answers and its standard error over problems; each counts by the mean of its graded attempts.

    NaN if nothing was graded; the standard error of one problem is NaN as well.
    """
    graded = [[a.correct for a in each if a.correct is not None] for each in attempts]
    means = [np.mean(each) for each in graded if each]
    return known_mean(means), known_error(means)


def _adapted(
    params: models.Params, adapters: Any, ids: np.ndarray, factors: Any, compose: str, one_program: bool
) -> tuple[models.Params, dict[str, Any]]:
    """Parameters and further arguments of `generate`; a batch of one adapter needs no choice by row."""
    if adapters is None or (ids == -1).all():
        return params, {}
    if (ids == ids[0]).all() and not one_program:
        one = jax.tree.map(lambda x: x[ids[0]], adapters)
        return Attach(compose)(params, one, factors), {}
    how = {"factors": factors, "compose": compose, "one_program": one_program}
    return params, {"adapters": adapters, "adapter_ids": ids.tolist(), **how}


def _check_ids(adapters: Any, ids: Sequence[int] | None, problems: int) -> None:
    if (adapters is None) != (ids is None):
        raise ValueError("adapters= are experts and adapter_ids= tells which of them each problem is for: pass both")
    if ids is None:
        return
    count = min(len(x) for x in jax.tree.leaves(adapters))
    if len(ids) != problems or any(not -1 <= n < count for n in ids):
        raise ValueError(f"adapter_ids has to be {problems} numbers from -1 (base) to {count - 1}, one per problem")


def _graded(out: generation.Output, n: int, verdict: bool | None) -> Attempt:
    text = out.texts[n] if out.texts else ""
    eos = out.eos[n] if out.eos else None
    return Attempt(out.tokens[n], text, verdict, float(sum(out.logprobs[n])), out.finished[n], eos)


def _row_id(problem: Problem) -> int:
    return zlib.crc32(problem.id.encode()) & 0x7FFFFFFF
