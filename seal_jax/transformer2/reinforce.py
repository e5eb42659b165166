"""REINFORCE: answers are written, graded, and made likelier or less likely by their reward."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np

from seal_jax import models
from seal_jax.data.packing import permutation
from seal_jax.data.problems import Problem
from seal_jax.transformer2 import kl as divergences
from seal_jax.transformer2.attempts import Attempt, attempt, encode_problems
from seal_jax.transformer2.optimizing import SCHEDULES, check_choices, check_least, check_shared, hyper_of
from seal_jax.transformer2.rewards import BASELINES, advantages, verdict_reward
from seal_jax.transformer2.rows import Row
from seal_jax.transformer2.tasks import Task
from seal_jax.transformer2.update import Attach, Program, TrainState, update

Reward = Callable[[Problem, Attempt], float | None]
"""The reward of an attempt, None for one that counts nowhere; takes the place of right and wrong."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How an expert is trained by reward. The defaults are those of the released code, but for `eos`."""

    iterations: int = 200
    """Optimizer steps, each on answers that the model at that step wrote."""
    batch_size: int = 256
    """Distinct training problems of a step; all of them if there are fewer."""
    samples: int = 1
    """Answers to each problem."""
    temperature: float = 0.0
    """Of the answers; 0 is greedy, as released, which does not explore."""
    right: float = 1.0
    """Reward of a right answer."""
    wrong: float = -1.0
    """Reward of a wrong answer; the paper took -0.1 for its vision-language model."""
    baseline: Literal["none", "mean", "group", "leave_one_out"] = "none"
    """What is subtracted from rewards: nothing, their mean over the batch, over the answers to the same problem, or
    over the other answers to it."""
    normalize: bool = False
    """Subtract the batch's mean of the rewards and divide by their standard deviation."""
    reward_clip: float | None = None
    """Rewards are limited to plus and minus this, last of all."""
    tokens: Literal["sum", "mean"] = "sum"
    """The log-likelihood and the KL of an answer: summed over its tokens, or their mean."""
    eos: Literal["in", "out"] = "in"
    """Whether the token that ended an answer is part of it; left out in the released code."""
    kl_coefficient: float = 0.0
    """Weight of the KL between the expert and the base model, summed over the tokens of an answer."""
    kl: Literal["forward", "reverse"] = "forward"
    """KL(base || expert) as released, or KL(expert || base) as the paper writes."""
    kl_estimate: Literal["exact", "sampled"] = "exact"
    """Over the whole vocabulary, or at the sampled tokens alone (needs temperature 1)."""
    report_kl: bool = False
    """Measure the KL also where its coefficient is 0, which costs a forward pass."""
    learning_rate: float = 2e-3
    """The peak of the schedule."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Constant as released, or the cosine decay that the paper names."""
    weight_decay: float = 0.0
    """Of AdamW; 0 is Adam, as released."""
    clip: float = 1e-3
    """Largest global norm of the gradient; 0: any."""
    eval_every: int = 10
    """Steps between two evaluations on the validation split; there is one before the first and one after the last."""
    patience: int = 0
    """Stop after this many evaluations without a new best; 0: never."""
    validate_on: int | None = None
    """Problems of the validation split to evaluate on, its first ones; all by default."""
    compose: Literal["scaled", "plain"] = "scaled"
    """Of singular-value experts: keep the sum of singular values (released), or u diag(s z) vt (paper)."""
    rows: int = 64
    """Answers that are decoded at once."""
    micro_batch: int = 16
    """Answers that are differentiated at once."""
    remat: bool = False
    """Recompute each layer in the backward pass instead of keeping its activations."""

    def __post_init__(self) -> None:
        check_shared(self)
        check_least(self, samples=1, temperature=0, kl_coefficient=0)
        for name in ("right", "wrong"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)}: a reward is a finite number")
        if self.reward_clip is not None and not self.reward_clip > 0:
            raise ValueError(f"reward_clip={self.reward_clip}: expected more than 0, or None")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"samples={self.samples} at temperature 0 are one answer again and again: sample them")
        if self.baseline in ("group", "leave_one_out") and self.samples == 1:
            raise ValueError(f"baseline={self.baseline!r} compares answers to the same problem: give samples=2 or more")
        if self.kl_estimate == "sampled" and self.diverges and self.temperature != 1:
            raise ValueError(
                f"kl_estimate='sampled' needs answers drawn at temperature 1, not {self.temperature}: use 'exact'"
            )
        check_choices(self, baseline=BASELINES, kl=divergences.DIRECTIONS, kl_estimate=divergences.ESTIMATES)
        check_choices(self, tokens=("sum", "mean"), eos=("in", "out"))

    @property
    def diverges(self) -> bool:
        """Whether the KL is computed."""
        return self.kl_coefficient != 0 or self.report_kl

    def program(self, config: models.Config) -> Program:
        """The static choices of the update."""
        return Program(
            config,
            Attach(self.compose),
            self.kl if self.diverges else None,
            self.kl_estimate,
            SCHEDULES[self.schedule],
            self.remat,
        )


def step(
    model: models.Model,
    state: TrainState,
    factors: Any,
    task: Task,
    settings: Settings,
    iteration: int,
    seed: int = 0,
    reward: Reward | None = None,
) -> tuple[TrainState, dict[str, Any]]:
    """One iteration: a batch of problems is drawn, answered by the current expert, graded, and learnt from.

    model: with unrolled parameters, the base. factors: as `update.layered` has them, or None for LoRA. Which problems
    are drawn and what is sampled follow from (seed, iteration) alone. Metrics: those of `update`, and of the batch

    - reward: mean of the graded attempts; accuracy: share of right ones; attempts, ungraded: how many;
    - signal: share of graded attempts with an advantage other than 0;
    - updated: False where there was nothing to learn: none graded, or all advantages 0 (equal rewards under a baseline)
      and no KL. Then neither adapter nor optimizer change;
    - completion_tokens: their mean number; finished: share that ended by itself.
    """
    problems = drawn(task.train, settings.batch_size, seed, iteration)
    program = settings.program(model.config)
    policy = model._replace(params=program.attach_fn(model.params, state.adapter, factors))
    attempts = attempt(
        policy,
        task,
        problems,
        temperature=settings.temperature,
        samples=settings.samples,
        key=jax.random.fold_in(jax.random.key(seed), iteration),
        rows=settings.rows,
    )
    rewards = [[_reward(p, a, settings, reward) for a in each] for p, each in zip(problems, attempts)]
    rows = rows_of(model, task, problems, attempts, rewards, settings)
    state, metrics = update(
        model.params,
        state,
        rows,
        hyper_of(settings),
        program,
        factors=factors,
        micro_batch=settings.micro_batch,
    )
    return state, {**_described(attempts, rewards, settings), **metrics, "updated": bool(rows)}


def drawn(problems: Sequence[Problem], count: int, seed: int, iteration: int) -> list[Problem]:
    """`count` distinct problems, or all if there are fewer; a function of (seed, iteration)."""
    return [problems[i] for i in permutation(len(problems), seed, iteration)[:count]]


def rows_of(
    model: models.Model,
    task: Task,
    problems: Sequence[Problem],
    attempts: Sequence[Sequence[Attempt]],
    rewards: Sequence[Sequence[float | None]],
    settings: Settings,
) -> list[Row]:
    """The attempts as rows of an update, divided by how many have a reward; those that change nothing are left out."""
    gains = advantages(rewards, settings.baseline, settings.normalize, settings.reward_clip)
    graded = sum(a is not None for each in gains for a in each)
    rows = []
    for prompt, each, gained in zip(encode_problems(model, task, problems), attempts, gains):
        for one, gain in zip(each, gained):
            if gain is None or (gain == 0 and not settings.diverges):
                continue
            completion = [*one.tokens, *([one.eos] if settings.eos == "in" and one.eos is not None else [])]
            share = 1.0 / graded / (max(len(completion), 1) if settings.tokens == "mean" else 1)
            rows.append(Row(prompt.tolist(), completion, gain * share, settings.kl_coefficient * share))
    # With a KL that is only reported there may be rows and nothing to learn.
    return rows if any(row.weight or row.divergence for row in rows) else []


def _reward(problem: Problem, one: Attempt, settings: Settings, reward: Reward | None) -> float | None:
    if reward is None:
        return verdict_reward(one.correct, settings.right, settings.wrong)
    value = reward(problem, one)
    if value is not None and not np.isfinite(value):
        raise ValueError(f"problem {problem.id!r}: its reward is {value}; a reward is a finite number, or None")
    return value


def _described(
    attempts: Sequence[Sequence[Attempt]], rewards: Sequence[Sequence[float | None]], settings: Settings
) -> dict[str, Any]:
    flat = [one for each in attempts for one in each]
    known = [r for each in rewards for r in each if r is not None]
    verdicts = [one.correct for one in flat if one.correct is not None]
    gains = advantages(rewards, settings.baseline, settings.normalize, settings.reward_clip)
    return {
        "reward": _mean(known),
        "accuracy": _mean(verdicts),
        "attempts": len(flat),
        "ungraded": len(flat) - len(known),
        "signal": sum(bool(a) for each in gains for a in each) / max(len(known), 1),
        "completion_tokens": _mean([len(one.tokens) for one in flat]),
        "finished": _mean([one.finished for one in flat]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
