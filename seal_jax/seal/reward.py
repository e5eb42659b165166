"""What an edit was worth: rewards, the statistics of a run, and their errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

KINDS = ("accuracy", "binary", "loglik")

Stats = dict[str, float]
Runs = Iterable[Iterable[bool | None]]
"""Verdicts of the same questions in several runs; None is ungraded."""


def reward(kind: str, adapted: ArrayLike, baseline: ArrayLike | None = None) -> float:
    """One number for one edit, larger is better.

    adapted `[seeds, questions]`: verdicts (or, for "loglik", gold-answer log-likelihoods) of the adapted model;
    baseline `[questions]`, or any shape: those of the model before the edit, used by "binary" alone.
    "accuracy" is the mean over questions and seeds, "binary" 1 where that mean is above the baseline's and else 0,
    "loglik" the mean log-likelihood, -inf where a value is not finite (a fine-tune that diverged). A verdict of None is
    ungraded and does not count; where nothing is graded the reward is NaN, which selection passes over.
    Raises ValueError for an unknown kind, no value, or "binary" without a baseline.
    """
    if kind not in KINDS:
        raise ValueError(f"reward {kind!r} is not one of {', '.join(KINDS)}")
    values = np.asarray(adapted, np.float64)
    if not values.size:
        raise ValueError("no question was answered: an edit is scored on one or more")
    if kind == "loglik":
        return float(values.mean()) if np.isfinite(values).all() else float("-inf")
    after = _graded_mean(values)
    if kind == "accuracy":
        return after
    if baseline is None:
        raise ValueError("the binary reward compares with the model before the edit: give the baseline")
    before = _graded_mean(np.asarray(baseline, np.float64))
    return float("nan") if np.isnan([after, before]).any() else float(after > before)


def _graded_mean(verdicts: np.ndarray) -> float:
    """The mean of the verdicts that are not NaN; NaN without any."""
    graded = verdicts[~np.isnan(verdicts)]
    return float(graded.mean()) if graded.size else float("nan")


def completion_stats(baseline: Runs, adapted: Runs) -> Stats:
    """Statistics of one edit from its verdicts: of each run those of its questions, or `[runs, questions]` arrays.

    A verdict of None is ungraded and does not count; a run of which nothing is graded does not either. Accuracies are
    rounded to 4 decimals a run, as the reference's server sends them, then averaged exactly; standard deviations are
    those of a sample, 0 for one run. NaN where nothing was graded. The statistics are not rounded: `rounded` is for
    writing. Raises ValueError if the two have different numbers of runs.
    """
    before, after = _accuracies(baseline), _accuracies(adapted)
    if len(before) != len(after):
        raise ValueError(f"{len(before)} runs before the edit and {len(after)} after it; expected as many")
    gains = _known(round(a - b, 4) for b, a in zip(before, after))
    before, after = (_known(round(x, 4) for x in runs) for runs in (before, after))
    return {
        "baseline_mean": _mean(before),
        "baseline_std": _std(before),
        "adapter_mean": _mean(after),
        "adapter_std": _std(after),
        "gain_mean": _mean(gains),
    }


def article_stats(completions: Sequence[Mapping[str, Any]]) -> Stats:
    """Statistics of one passage from those of its edits (`completion_stats`); NaN is unknown and left out."""
    adapted = _column(completions, "adapter_mean")
    return {
        "baseline_accuracy": _mean(_column(completions, "baseline_mean")),
        "adapter_mean_accuracy": _mean(adapted),
        "adapter_std_over_completions": _std(adapted),
        "mean_adapter_std_within_completions": _mean(_column(completions, "adapter_std")),
        "mean_gain": _mean(_column(completions, "gain_mean")),
    }


def overall_stats(articles: Sequence[Mapping[str, Any]]) -> Stats:
    """Statistics of a run from those of its passages (`article_stats`, not rounded); NaN is unknown and left out.

    Every passage counts the same, however many questions it has. `mean_gain` is the difference of the two means.
    """
    before, after = _column(articles, "baseline_accuracy"), _column(articles, "adapter_mean_accuracy")
    return {
        "baseline_mean_accuracy": _mean(before),
        "baseline_std_of_article_means": _std(before),
        "adapter_mean_accuracy": _mean(after),
        "adapter_std_of_article_means": _std(after),
        "mean_adapter_std_over_completions": _mean(_column(articles, "adapter_std_over_completions")),
        "mean_adapter_std_within_completions": _mean(_column(articles, "mean_adapter_std_within_completions")),
        "mean_gain": _mean(after) - _mean(before),
    }


def rounded(stats: Mapping[str, float], digits: int = 4) -> Stats:
    """The statistics with the decimals that the reference's files keep."""
    return {key: round(value, digits) for key, value in stats.items()}


def sample_std(values: ArrayLike) -> float:
    """Standard deviation with n - 1 in the denominator; 0 for fewer than two values."""
    values = np.asarray(values, np.float64)
    return float(values.std(ddof=1)) if values.size > 1 else 0.0


def cluster_means(values: ArrayLike, clusters: Sequence[Hashable]) -> np.ndarray:
    """Mean of each cluster's values, float64, in order of first appearance (accuracy by passage, of all questions)."""
    values, index = _clustered(values, clusters)
    return np.bincount(index, values) / np.bincount(index)


def clustered_stderr(values: ArrayLike, clusters: Sequence[Hashable]) -> float:
    """Standard error of the mean of `values` [n] where those of one cluster may depend on each other.

    Sums of residuals by cluster, with the factor g / (g - 1) for g clusters: with one value a cluster it is the usual
    standard error. NaN for a single cluster, which says nothing about the spread of others.
    """
    values, index = _clustered(values, clusters)
    sums = np.bincount(index, values - values.mean())
    if sums.size < 2:
        return float("nan")
    return float(np.sqrt((sums**2).sum() * sums.size / (sums.size - 1)) / values.size)


def paired(a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable]) -> tuple[float, float]:
    """Mean of `a - b` and its clustered standard error; a and b [n] are values of the same n questions in order."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired values belong to the same questions: shapes {a.shape} and {b.shape} differ")
    return float((a - b).mean()), clustered_stderr(a - b, clusters)


def selection_noise(rewards: Sequence[Sequence[float]], chosen: Sequence[int], fresh: Sequence[float]) -> Stats:
    """How much of the chosen edits' lead is luck: they are scored again on a fresh seed.

    rewards: of each passage's edits, used to choose; chosen: the index taken; fresh: that edit's reward on the new
    seed. Gives the means over passages `all`, `selected` and `fresh`, and `noise_share`, the part of
    `selected - all` that `fresh` does not confirm (0 where there is no lead). Edits whose fine-tune diverged, with a
    reward of -inf, do not count in `all`.
    """
    if not len(rewards) == len(chosen) == len(fresh):
        raise ValueError(f"{len(rewards)} passages, {len(chosen)} choices and {len(fresh)} fresh rewards do not match")
    everything = float(np.mean([np.mean([r for r in row if np.isfinite(r)]) for row in rewards]))
    selected = float(np.mean([row[index] for row, index in zip(rewards, chosen)]))
    again = float(np.mean(fresh))
    share = (selected - again) / (selected - everything) if selected > everything else 0.0
    return {"all": everything, "selected": selected, "fresh": again, "noise_share": share}


def held_out_selection(scores: ArrayLike) -> Stats:
    """`selection_noise` without a new run: choose on all seeds but one, score on that one, average over which one.

    scores: [passages, edits, seeds >= 2]. The choice has a seed less to go by, so the noise is slightly overstated;
    `selected` is the in-sample mean of a choice made on all seeds.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 3 or scores.shape[2] < 2:
        raise ValueError(f"scores of shape {scores.shape}; expected [passages, edits, seeds] with two seeds or more")
    seeds = range(scores.shape[2])
    held_out = []
    for seed in seeds:
        best = scores[:, :, [s for s in seeds if s != seed]].mean(2).argmax(1)
        held_out.append(np.take_along_axis(scores[:, :, seed], best[:, None], 1)[:, 0])
    means = scores.mean(2)
    return selection_noise(means.tolist(), means.argmax(1).tolist(), np.mean(held_out, 0).tolist())


def _clustered(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size != len(clusters) or not values.size:
        raise ValueError(f"values of shape {values.shape} and {len(clusters)} clusters; expected one each, and some")
    numbers: dict[Hashable, int] = {}
    return values, np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])


def _accuracies(runs: Runs) -> list[float]:
    """The accuracy of each run, NaN for one without a graded question."""
    graded = [[float(verdict) for verdict in run if verdict is not None] for run in runs]
    return [sum(run) / len(run) if run else math.nan for run in graded]


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    if not rows:
        raise ValueError(f"no rows to average {key} over")
    return _known(row[key] for row in rows)


def _known(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values if not math.isnan(value)]


def _mean(values: Sequence[float]) -> float:
    # `statistics` adds up exactly, so equal sets of runs give equal numbers, to the bit those of the reference.
    return statistics.mean(values) if values else math.nan


def _std(values: Sequence[float]) -> float:
    return sample_std(values) if values else math.nan
