"""Next-token training on worked solutions: what the paper compares learning from reward with."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from seal_jax import models
from seal_jax.data.problems import Problem
from seal_jax.transformer2.attempts import encode_problems
from seal_jax.transformer2.optimizing import SCHEDULES, check_shared, hyper_of
from seal_jax.transformer2.reinforce import drawn
from seal_jax.transformer2.rows import Row
from seal_jax.transformer2.tasks import Task
from seal_jax.transformer2.update import Attach, Program, TrainState, update

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How an expert is trained on solutions; the fields that `reinforce.Settings` has too mean the same here."""

    iterations: int = 200
    """Optimizer steps."""
    batch_size: int = 256
    """Distinct training problems of a step; all of them if there are fewer."""
    learning_rate: float = 2e-3
    """The peak of the schedule."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How it goes down: not at all, or by half a cosine to 0."""
    weight_decay: float = 0.0
    """Of AdamW."""
    clip: float = 1.0
    """Largest global norm of the gradient; 0: any."""
    eval_every: int = 10
    """Steps between two evaluations on the validation split; there is one before the first and one after the last."""
    patience: int = 0
    """Stop after this many evaluations without a new best; 0: never."""
    validate_on: int | None = None
    """Problems of the validation split to evaluate on, its first ones; all by default."""
    compose: Literal["scaled", "plain"] = "scaled"
    """Of singular-value experts: keep the sum of singular values, or u diag(s z) vt."""
    rows: int = 64
    """Answers that are decoded at once."""
    micro_batch: int = 16
    """Solutions that are differentiated at once."""
    remat: bool = False
    """Recompute each layer in the backward pass instead of keeping its activations."""

    def __post_init__(self) -> None:
        check_shared(self)

    def program(self, config: models.Config) -> Program:
        """The static choices of the update."""
        return Program(config, Attach(self.compose), schedule=SCHEDULES[self.schedule], remat=self.remat)


def step(
    model: models.Model,
    state: TrainState,
    factors: Any,
    task: Task,
    settings: Settings,
    iteration: int,
    seed: int = 0,
) -> tuple[TrainState, dict[str, Any]]:
    """One optimizer step on the solutions of a batch of problems, drawn as `reinforce.step` draws them.

    Metrics: those of `update`; the loss is the mean negative log-likelihood of a target in nats.
    """
    rows = solution_rows(model, task, drawn(task.train, settings.batch_size, seed, iteration))
    how = {"factors": factors, "micro_batch": settings.micro_batch}
    state, metrics = update(model.params, state, rows, hyper_of(settings), settings.program(model.config), **how)
    return state, {**metrics, "updated": bool(rows)}


def solution_rows(model: models.Model, task: Task, problems: Sequence[Problem]) -> list[Row]:
    """Solutions with one end-of-text as rows whose objective is the mean log-likelihood of all their tokens.

    A solution that runs over the context is cut, and how many were is logged. Raises ValueError for a problem without
    a solution.
    """
    without = [problem.id for problem in problems if not problem.solution]
    if without:
        raise ValueError(
            f"task {task.name!r}: {len(without)} of {len(problems)} problems have no solution to learn from, "
            f"{without[0]!r} first; learn from reward, or leave them out"
        )
    prompts = encode_problems(model, task, problems)
    room = [model.config.max_position - len(prompt) for prompt in prompts]
    completions = [_continuation(model, problem, prompt) for problem, prompt in zip(problems, prompts)]
    if cut := sum(len(completion) > most for completion, most in zip(completions, room)):
        logger.warning("task %r: %d of %d solutions run over the context and were cut", task.name, cut, len(room))
    completions = [completion[:most] for completion, most in zip(completions, room)]
    weight = 1.0 / max(sum(map(len, completions)), 1)
    return [Row(prompt.tolist(), completion, weight) for prompt, completion in zip(prompts, completions)]


def _continuation(model: models.Model, problem: Problem, prompt: np.ndarray) -> list[int]:
    """Tokens of the solution as they follow the prompt, where the two tokenise apart from each other, and the end."""
    encode, end = model.tokenizer.encode, model.tokenizer.eos_token_id
    text, plain = problem.solution or "", {"add_special_tokens": False}
    found = encode(text, **plain)
    if isinstance(problem.prompt, str):
        whole = encode(problem.prompt + text)
        if whole[: len(prompt)] == prompt.tolist():
            found = whole[len(prompt) :]
    found = found[:-1] if end is not None and found[-1:] == [end] else found
    return [*found, *([] if end is None else [end])]
