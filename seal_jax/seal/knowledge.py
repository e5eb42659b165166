"""Knowledge incorporation, single-passage regime (arXiv 2506.10943, section 4.1): rounds of ReST-EM, and evaluation.

Round t: the policy writes edits of passages it has not met, each edit is tried in the inner loop, the best are chosen,
and the policy is trained on them. Every stage is kept in the run's directory and not done twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from seal_jax import models
from seal_jax.data.squad import Passage
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.runtime.logging import progress
from seal_jax.runtime.run import Run
from seal_jax.seal import policy, rest_em, reward
from seal_jax.seal.answers import Outcome, ask
from seal_jax.seal.edits import training_sequences
from seal_jax.seal.graders import kept_in
from seal_jax.seal.inner_loop import Trial, run_trials
from seal_jax.seal.settings import Edits, Settings

# Choices, their check and the evaluation share no seed. Rounds and the random control share theirs on purpose, so that
# they differ in the edits they are trained on and in nothing else.
FRESH_SEED, EVALUATION_SEED = 1_000, 2_000


class Scores(NamedTuple):
    """Outcomes of edits: `outcomes[p][e][s]` of passage p, edit e, seed s, and what was known before, `baseline[p]`."""

    outcomes: list[list[list[Outcome]]]
    baseline: list[Outcome]

    def rewards(self, kind: str) -> list[list[float]]:
        """The reward of every edit, `[passages][edits]`."""
        field = "loglik" if kind == "loglik" else "correct"
        return [
            [reward.reward(kind, [o[field] for o in edit], before[field]) for edit in edits]
            for edits, before in zip(self.outcomes, self.baseline)
        ]

    def before(self, kind: str) -> list[float]:
        """What each passage's reward would be without any edit: the floor of `--select positive`."""
        field = "loglik" if kind == "loglik" else "correct"
        return [0.0 if kind == "binary" else reward.reward(kind, o[field]) for o in self.baseline]


def score_edits(
    run: Run,
    name: str,
    model: models.Model,
    passages: Sequence[Passage],
    edits: Sequence[Sequence[str]],
    settings: Settings,
    seeds: Sequence[int],
) -> Scores:
    """Try every edit with every seed in the inner loop; the model's own answers are asked for once."""
    trials = [
        Trial(f"{p}/{e}/{s}", _texts(text, passage, settings), passage, seed=s, item=1 + p * 1_000 + e)
        for p, (passage, texts) in enumerate(zip(passages, edits))
        for e, text in enumerate(texts)
        for s in seeds
    ]
    outcomes = iter(_tried(run, name, model, trials, settings))
    baseline = _asked(run, f"{name}-before", model, passages, settings)
    return Scores([[[next(outcomes) for _ in seeds] for _ in texts] for texts in edits], baseline)


def train_round(
    run: Run,
    name: str,
    model: models.Model,
    passages: Sequence[Passage],
    settings: Settings,
    seed: int,
) -> tuple[models.Model, dict[str, Any]]:
    """One round of ReST-EM: write, try, select, train. Returns the better policy and the round's report.

    Raises ValueError if no edit was selected.
    """
    edits = write_all(run, f"{name}/edits", model, passages, settings.edits, seed)
    seeds = range(seed, seed + settings.seeds)
    scores = score_edits(run, f"{name}/trials", model, passages, edits, settings, seeds)
    rewards = scores.rewards(settings.reward)
    positive = settings.select == "positive"
    chosen = rest_em.select(
        rewards,
        edits,
        None if positive else settings.k_best,
        positive=positive,
        baseline=scores.before(settings.reward),
    )
    fresh = _scored_again(run, name, model, passages, edits, chosen, settings, seed)
    report = run.stage(f"{name}/selection", lambda: _report(scores, chosen, fresh, settings))
    rows = rest_em.sft_rows(policy.prompts(model, passages, settings.edits), edits, chosen)
    rest_em.write_sft_jsonl(run.dir / "stages" / name / "sft.jsonl", rows)
    return update(run, name, model, rows, settings, seed), report


def random_round(
    run: Run,
    name: str,
    model: models.Model,
    passages: Sequence[Passage],
    settings: Settings,
    seed: int,
    counts: Sequence[int],
) -> models.Model:
    """The control of `train_round`: trained on as many edits of each passage, chosen at random and never tried."""
    edits = write_all(run, f"{name}/edits", model, passages, settings.edits, seed)
    chosen = rest_em.random_choice(edits, counts, seed)
    rows = rest_em.sft_rows(policy.prompts(model, passages, settings.edits), edits, chosen)
    return update(run, name, model, rows, settings, seed)


def update(
    run: Run, name: str, model: models.Model, rows: Sequence[dict[str, str]], settings: Settings, seed: int
) -> models.Model:
    """Train the policy on rows and merge; the adapter is kept as `stages/NAME/policy.tree`."""

    def trained() -> Any:
        checkpoints = Checkpointer(run.checkpoints / name)
        with progress(f"{name}/policy", len(rows)) as advance:
            adapter, losses = policy.improve(model, rows, settings.policy, seed, checkpoints)
            advance(len(rows))
        for step, loss in enumerate(losses):
            run.log({"stage": f"{name}/policy", "step": step, "loss": loss}, id=f"{name}/policy/{step}")
        return adapter

    adapter = run.stage(f"{name}/policy", trained, kind="tree")
    run.drop_checkpoints(name)
    return policy.merge(model, adapter)


def evaluate(
    run: Run,
    name: str,
    model: models.Model,
    passages: Sequence[Passage],
    settings: Settings,
    seed: int,
    *,
    edits: Sequence[str] | None = None,
    writer: models.Model | None = None,
    shift: int = 0,
    adapt: bool = True,
    show_passage: bool = False,
) -> dict[str, Any]:
    """Accuracy and gold log-likelihood over passages after adapting to one edit each.

    edits: given ones ("" adapts to the passage alone); default: written by `writer`, or by the model itself.
    shift: each passage's questions are asked after adapting to the passage `shift` places further on, and its edit.
    adapt=False only asks, with the passage in the prompt if `show_passage`. Each figure is the mean over passages of
    the mean over questions, and its standard error is over passages. "by_passage" holds what paired comparisons need.
    """
    if not adapt:
        return summary(_asked(run, name, model, passages, settings, show_passage))
    if edits is None:
        edits = write(run, f"{name}-edits", writer or model, passages, settings, seed)
    if len(edits) != len(passages):
        raise ValueError(f"{len(edits)} edits for {len(passages)} passages: give one for each")
    told = [_texts(edit, passage, settings) for edit, passage in zip(edits, passages)]
    trials = [
        Trial(str(p), told[(p + shift) % len(told)], passage, seed=EVALUATION_SEED + seed, item=p)
        for p, passage in enumerate(passages)
    ]
    return summary(_tried(run, name, model, trials, settings))


def write(
    run: Run, name: str, model: models.Model, passages: Sequence[Passage], settings: Settings, seed: int
) -> list[str]:
    """One edit of each passage."""
    one = dataclasses.replace(settings.edits, count=1)
    return [texts[0] for texts in write_all(run, name, model, passages, one, EVALUATION_SEED + seed)]


def write_all(
    run: Run, name: str, model: models.Model, passages: Sequence[Passage], edits: Edits, seed: int
) -> list[list[str]]:
    """`edits.count` edits of each passage, kept in the run as stage `name`."""

    def compute() -> list[list[str]]:
        with progress(name, len(passages) * edits.count) as advance:
            return policy.write_edits(model, passages, edits, seed, run.items(name), advance)

    return run.stage(name, compute)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means over passages with standard errors, and the values by passage they are made of.

    Passages without a question do not count. A passage whose fine-tune diverged has no log-likelihood: its questions
    count as answered wrong, the figures of the log-likelihood are of the others, and "diverged" is how many there are.
    A verdict of None counts neither way, and "ungraded" is how many there are among the "questions"; a passage of which
    nothing is graded has no accuracy.
    """
    asked = [o for o in outcomes if o["correct"]]
    if not asked:
        raise ValueError("none of the passages has a question: nothing can be evaluated")
    mean = lambda values: float(np.mean(np.asarray(values, np.float64)))  # noqa: E731
    by_passage = {
        "accuracy": [reward.reward("accuracy", o["correct"]) for o in asked],
        "loglik": [mean(o["loglik"]) for o in asked],
    }
    graded, known = ([x for x in by_passage[field] if np.isfinite(x)] for field in ("accuracy", "loglik"))
    return {
        "accuracy": mean(graded) if graded else float("nan"),
        "stderr": _stderr(graded),
        "loglik": mean(known) if known else float("nan"),
        "loglik_stderr": _stderr(known),
        "passages": len(asked),
        "diverged": len(asked) - len(known),
        "questions": sum(len(o["correct"]) for o in asked),
        "ungraded": ungraded(asked),
        "by_passage": by_passage,
    }


def ungraded(outcomes: Iterable[Outcome]) -> int:
    """How many questions have no verdict."""
    return sum(outcome["correct"].count(None) for outcome in outcomes)


def _stderr(values: Sequence[float]) -> float:
    """Standard error of the mean; NaN for fewer than two values, which say nothing about the spread of others."""
    return reward.sample_std(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def compare(a: dict[str, Any], b: dict[str, Any], field: str = "accuracy") -> dict[str, float]:
    """Mean difference a - b of two evaluations on the same passages and its standard error, clustered by passage.

    Passages on which a fine-tune of either diverged do not count in the log-likelihood, and those of which nothing is
    graded not in the accuracy.
    """
    pairs = zip(a["by_passage"][field], b["by_passage"][field], strict=True)
    kept = [pair for pair in pairs if np.isfinite(pair).all()]
    if not kept:
        return {"difference": float("nan"), "stderr": float("nan")}
    difference, error = reward.paired([x for x, _ in kept], [y for _, y in kept], range(len(kept)))
    return {"difference": difference, "stderr": error}


def _texts(edit: str, passage: Passage, settings: Settings) -> list[str]:
    return training_sequences(edit, passage.title, passage.context, settings.inner.split_newlines)


def _tried(run: Run, name: str, model: models.Model, trials: Sequence[Trial], settings: Settings) -> list[Outcome]:
    def compute() -> list[Outcome]:
        with progress(name, len(trials)) as advance:
            answering = kept_in(run, settings.answering)
            return run_trials(model, trials, settings.inner, answering, run.items(name), advance)

    return run.stage(name, compute)


def _asked(
    run: Run,
    name: str,
    model: models.Model,
    passages: Sequence[Passage],
    settings: Settings,
    show_passage: bool = False,
) -> list[Outcome]:
    def compute() -> list[Outcome]:
        with progress(name, sum(len(p.questions) for p in passages)) as advance:
            return ask(model, passages, kept_in(run, settings.answering), show_passage, on_progress=advance)

    return run.stage(name, compute)


def _scored_again(
    run: Run,
    name: str,
    model: models.Model,
    passages: Sequence[Passage],
    edits: Sequence[Sequence[str]],
    chosen: Sequence[Sequence[int]],
    settings: Settings,
    seed: int,
) -> list[float]:
    """Reward on a fresh seed of the first edit chosen of each passage that has one."""
    picked = [(p, c[0]) for p, c in enumerate(chosen) if c]
    people, texts = [passages[p] for p, _ in picked], [[edits[p][e]] for p, e in picked]
    again = score_edits(run, f"{name}/fresh", model, people, texts, settings, [FRESH_SEED + seed])
    return [r[0] for r in again.rewards(settings.reward)]


def _report(
    scores: Scores, chosen: Sequence[Sequence[int]], fresh: Sequence[float], settings: Settings
) -> dict[str, Any]:
    """Statistics of a round's rewards, without unknown ones, and how much of the chosen ones' lead is luck."""
    first = [(p, c[0]) for p, c in enumerate(chosen) if c]
    picked = [(p, e, score) for (p, e), score in zip(first, fresh) if not np.isnan(score)]
    rewards = scores.rewards(settings.reward)
    leads = [rewards[p] for p, _, _ in picked], [e for _, e, _ in picked], [score for *_, score in picked]
    noise = reward.selection_noise(*leads) if picked else None
    every = [r for row in rewards for r in row]
    flat = np.array([r for r in every if np.isfinite(r)] or [np.nan])
    before = [r for r in scores.before(settings.reward) if not np.isnan(r)]
    return {
        "reward": settings.reward,
        "edits": len(every),
        "diverged": every.count(float("-inf")),
        "ungraded": ungraded(o for edits in scores.outcomes for edit in edits for o in edit),
        "mean": float(flat.mean()),
        "std": float(flat.std()),
        "quantiles": np.quantile(flat, [0, 0.25, 0.5, 0.75, 1]).tolist(),
        "before": float(np.mean(before or [np.nan])),
        "chosen": [list(c) for c in chosen],
        "rewards": rewards,
        "selection": noise,
    }
