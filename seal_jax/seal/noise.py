"""How much of a chosen edit's lead is luck, from rewards on two sets of fine-tunes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from seal_jax.seal.reward import sample_std


def chosen_again(values: Mapping[str, np.ndarray], kind: str, count: int, held_out: int) -> dict[str, Any]:
    """Choose the best edit of each passage by reward `kind` on `count` fine-tunes, and score the choice on others.

    values: of each kind of reward `[passages, edits, fine-tunes]`, "accuracy" among them. The last `held_out`
    fine-tunes are what choices are scored on; every disjoint group of `count` of the others chooses once, and a
    passage's gain is the mean over the groups. All gains are over the mean of all edits of the passage:
    "in_sample_gain" on what chose, "fresh_gain" on the held-out fine-tunes, both in units of `kind`; "kept" is their
    ratio; "fresh_accuracy_gain" is what the choice gains in accuracy, whatever chose. Standard errors over passages.
    Raises ValueError if there are fewer than `count` fine-tunes to choose by.
    """
    choosing = values[kind][..., :-held_out]
    if not 1 <= count <= choosing.shape[-1]:
        raise ValueError(f"{count} fine-tunes to choose by: there are {choosing.shape[-1]} besides those held out")
    fresh = {name: v[..., -held_out:].mean(-1) for name, v in values.items()}
    gains: dict[str, list[np.ndarray]] = {name: [] for name in ("in_sample", *values)}
    for start in range(0, choosing.shape[-1] - count + 1, count):
        scores = choosing[..., start : start + count].mean(-1)
        best = scores.argmax(1)[:, None]  # ties go to the edit written first, as in `rest_em.select`
        for name, of in (("in_sample", scores), *fresh.items()):
            gains[name].append(np.take_along_axis(of, best, 1)[:, 0] - of.mean(1))
    mean = {name: np.mean(of, 0) for name, of in gains.items()}
    kept, kept_error = ratio_of_means(mean[kind], mean["in_sample"])
    return {
        "reward": kind,
        "seeds": count,
        "in_sample_gain": float(mean["in_sample"].mean()),
        "fresh_gain": float(mean[kind].mean()),
        "kept": kept,
        "kept_stderr": kept_error,
        "fresh_accuracy_gain": float(mean["accuracy"].mean()),
        "stderr": sample_std(mean["accuracy"]) / len(mean["accuracy"]) ** 0.5,
    }


def ratio_of_means(above: np.ndarray, below: np.ndarray) -> tuple[float, float]:
    """mean(above) / mean(below) of values `[n]` of the same n cases, and its standard error by the delta method."""
    value = float(above.mean() / below.mean())
    return value, float(sample_std(above - value * below) / len(below) ** 0.5 / abs(below.mean()))
