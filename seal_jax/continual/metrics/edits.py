"""Model editing: was the edit taken up, does it carry over, and is the rest as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Answers = Callable[[list[str]], Sequence[str]]


class Edit(NamedTuple):
    """One correction.

    prompt, target: what is asked and what should be answered from now on; paraphrases: other ways to ask it; unrelated:
    prompts whose answers should stay.
    """

    prompt: str
    target: str
    paraphrases: Sequence[str] = ()
    unrelated: Sequence[str] = ()


class EditScores(NamedTuple):
    """Means over edits in [0, 1], NaN where no edit has such prompts.

    reliability: the prompt gets the target; generality: share of an edit's paraphrases that get it; locality: share of
    its unrelated prompts that are answered as before.
    """

    reliability: float
    generality: float
    locality: float


def edit_scores(
    edits: Sequence[Edit], before: Answers, after: Answers, same: Callable[[str, str], bool] | None = None
) -> EditScores:
    """Scores of edits from two models' answers.

    before, after: the models before and after all edits, as functions from prompts to answers: greedy generation, or
    the best of given candidates (`ranked_answers`). Each is called once. same: whether two answers are the same one, by
    default when they are equal without spaces around them. Raises ValueError without edits or for missing answers.
    """
    if not edits:
        raise ValueError("no edits to score")
    same = same or (lambda one, other: one.strip() == other.strip())
    asked = [prompt for edit in edits for prompt in (edit.prompt, *edit.paraphrases, *edit.unrelated)]
    unrelated = [prompt for edit in edits for prompt in edit.unrelated]
    now, then = iter(_answers(after, asked)), iter(_answers(before, unrelated))
    reliable, general, local = [], [], []
    for edit in edits:
        reliable.append(same(next(now), edit.target))
        general.append([same(next(now), edit.target) for _ in edit.paraphrases])
        local.append([same(next(now), next(then)) for _ in edit.unrelated])
    return EditScores(float(np.mean(reliable)), _mean_of_means(general), _mean_of_means(local))


def _answers(model: Answers, prompts: list[str]) -> Sequence[str]:
    found = model(prompts) if prompts else []
    if len(found) != len(prompts):
        raise ValueError(f"{len(found)} answers to {len(prompts)} prompts")
    return found


def _mean_of_means(shares: Sequence[Sequence[bool]]) -> float:
    means = [np.mean(share) for share in shares if share]
    return float(np.mean(means)) if means else float("nan")
