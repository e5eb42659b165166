"""From graded attempts to what multiplies their log-likelihood: rewards, baselines, normalisation, clipping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BASELINES = ("none", "mean", "group", "leave_one_out")
LEAST_DEVIATION = 1e-7


def verdict_reward(correct: bool | None, right: float = 1.0, wrong: float = -1.0) -> float | None:
    """The reward of a verdict; None where there is none."""
    return None if correct is None else right if correct else wrong


def advantages(
    rewards: Sequence[Sequence[float | None]],
    baseline: str = "none",
    normalize: bool = False,
    clip: float | None = None,
) -> list[list[float | None]]:
    """What each attempt's log-likelihood is multiplied by, in the shape of `rewards`; None stays None, in no mean.

    rewards: one list of attempts per problem. baseline, subtracted first: "mean" of all attempts, "group" the mean of
    the attempts at the same problem, "leave_one_out" the mean of the other attempts at it (where there is no other,
    nothing is known and the advantage is 0). normalize: then subtract the mean of all and divide by their standard
    deviation, at least 1e-7. clip: then limit to +-clip. Equal rewards thus give 0 under any baseline, and their own
    value without one.
    """
    if baseline not in BASELINES:
        raise ValueError(f"baseline={baseline!r} is not one of {', '.join(map(repr, BASELINES))}")
    values = [np.array([np.nan if r is None else r for r in each], float) for each in rewards]
    values = _without_baseline(values, baseline)
    known = np.concatenate([v[~np.isnan(v)] for v in values]) if values else np.zeros(0)
    if normalize and known.size:
        values = [_less(v, known.mean()) / max(known.std(), LEAST_DEVIATION) for v in values]
    if clip is not None:
        values = [np.clip(v, -clip, clip) for v in values]
    return [[None if np.isnan(a) else float(a) for a in v] for v in values]


def _without_baseline(values: list[np.ndarray], baseline: str) -> list[np.ndarray]:
    if baseline == "none" or all(np.isnan(v).all() for v in values):
        return values
    if baseline == "mean":
        mean = np.nanmean(np.concatenate(values))
        return [_less(v, mean) for v in values]
    return [_within(v, baseline) for v in values]


def _within(values: np.ndarray, baseline: str) -> np.ndarray:
    """The rewards of one problem's attempts, less their mean or that of the others."""
    count = int((~np.isnan(values)).sum())
    if count == 0:
        return values
    # r - mean of the others = (r - mean of all) * n / (n - 1)
    return _less(values, np.nanmean(values)) * (count / max(count - 1, 1) if baseline == "leave_one_out" else 1.0)


def _less(values: np.ndarray, mean: np.floating) -> np.ndarray:
    """`values - mean`, exactly 0 where they are equal but for the rounding of the mean."""
    return np.where(np.isclose(values, mean, rtol=1e-9, atol=0.0), 0.0, values - mean)
