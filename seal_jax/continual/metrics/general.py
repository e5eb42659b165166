"""What learning did to abilities that were there before: FUAR, TRACE's deltas, the alignment tax."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Fuar(NamedTuple):
    """Facts forgotten per fact updated or acquired: below 1 is good, 0 is none lost.

    value: infinite where something was lost and nothing gained, NaN where neither; no_gain: whether nothing was gained;
    lost, gained: the sums that the value is the ratio of, in the unit of the scores.
    """

    value: float
    no_gain: bool
    lost: float
    gained: float


def fuar(
    kept: Sequence[tuple[float, float]],
    updated: tuple[float, float] | None,
    acquired: tuple[float, float] | None,
) -> Fuar:
    """Forgotten / (updated + acquired) ratio of CKL, from pairs of scores (before, after).

    kept: for each set of facts that should stay, the score when it was learned (of the initial model for what it knew)
    and that of the final model; updated, acquired: scores of the initial and the final model on facts that changed and
    on new ones, None for a stream without such. Only losses count above, only gains below.
    Raises ValueError for a score that is no number.
    """
    gains = [pair for pair in (updated, acquired) if pair is not None]
    for before, after in (*kept, *gains):
        if not (math.isfinite(before) and math.isfinite(after)):
            raise ValueError(f"a pair of scores is ({before}, {after}): two numbers are needed, before and after")
    lost = sum(max(0.0, before - after) for before, after in kept)
    gained = sum(max(0.0, after - before) for before, after in gains)
    if gained > 0:
        return Fuar(lost / gained, False, lost, gained)
    return Fuar(math.inf if lost > 0 else math.nan, True, lost, gained)


class Delta(NamedTuple):
    """Changes of scores on several tasks: their mean, each task's, and the name of the task that lost most.

    A small mean can hide the collapse of one task, so `lines` shows every task, the worst marked.
    """

    mean: float
    by_task: dict[str, float]
    worst: str

    def lines(self) -> list[str]:
        """A line for the mean, and one for each task from the worst to the best."""
        ordered = sorted(self.by_task, key=lambda task: self.by_task[task])
        width = max(map(len, ordered))
        rows = [f"  {t:{width}} {self.by_task[t]:+.4g}{'  (worst)' if t == self.worst else ''}" for t in ordered]
        return [f"mean {self.mean:+.4g} over {len(ordered)} tasks", *rows]


def trace_delta(
    scores: Sequence[float] | Mapping[str, float],
    base: Sequence[float] | Mapping[str, float],
    tasks: Sequence[str] | None = None,
) -> Delta:
    """TRACE's delta of general ability, instruction following or safety: the mean over tasks of score minus base score.

    scores, base: of the model after a stream and before it, by task name or in the order of `tasks` (default "task 0",
    ...). Raises ValueError where tasks differ or a score is no number.
    """
    after, before = (_by_name(what, x, tasks) for what, x in (("scores", scores), ("base", base)))
    if set(after) != set(before) or not after:
        raise ValueError(f"scores of {', '.join(after) or 'no task'} and base of {', '.join(before) or 'no task'}")
    changes = {task: after[task] - before[task] for task in after}
    return Delta(sum(changes.values()) / len(changes), changes, min(changes, key=lambda task: changes[task]))


def alignment_tax(
    aligned: Sequence[float] | Mapping[str, float],
    before: Sequence[float] | Mapping[str, float],
    tasks: Sequence[str] | None = None,
) -> float:
    """What alignment cost: the mean over tasks of the score before minus that of the aligned model, a loss positive.

    Arguments and errors as of `trace_delta`, which gives the tasks' own, and whose mean this is with the other sign.
    """
    return -trace_delta(aligned, before, tasks).mean


def _by_name(what: str, scores: Sequence[float] | Mapping[str, float], tasks: Sequence[str] | None) -> dict[str, float]:
    if isinstance(scores, Mapping):
        found = {str(name): float(score) for name, score in scores.items()}
    else:
        names = tasks or [f"task {i}" for i in range(len(scores))]
        if len(names) != len(scores):
            raise ValueError(f"{what}: {len(scores)} scores for the {len(names)} tasks {', '.join(names)}")
        found = dict(zip(names, map(float, scores), strict=True))
    for name, score in found.items():
        if not math.isfinite(score):
            raise ValueError(f"{what} of {name}: {score} is no score")
    return found
