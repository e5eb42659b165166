"""Figures of answers to the questions of many passages: by question, by passage, and which were gained and lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seal_jax.data.squad import Passage
from seal_jax.seal import reward
from seal_jax.seal.answers import Outcome


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Accuracy over questions and over passages, with standard errors, and the log-likelihood of the gold answers.

    "accuracy" counts every question alike (micro), its "stderr" lets those of one passage depend on each other; "macro"
    is the mean over passages of theirs. Questions without a verdict count in "ungraded" alone.
    Raises ValueError if no question is graded.
    """
    correct, of = _column(outcomes, "correct")
    if not len(correct):
        raise ValueError("no question is graded: nothing can be evaluated")
    by_passage = reward.cluster_means(correct, of)
    loglik, asked = _column(outcomes, "loglik")
    return {
        "accuracy": float(correct.mean()),
        "stderr": _stderr(correct, of),
        "macro": float(by_passage.mean()),
        "macro_stderr": _mean_stderr(by_passage),
        "loglik": float(loglik.mean()) if len(loglik) else float("nan"),
        "loglik_stderr": _stderr(loglik, asked),
        "passages": len(by_passage),
        "questions": sum(len(o["correct"]) for o in outcomes),
        "ungraded": sum(o["correct"].count(None) for o in outcomes),
    }


def changes(passages: Sequence[Passage], before: Sequence[Outcome], after: Sequence[Outcome]) -> dict[str, Any]:
    """Questions that are right after and were wrong before, "gained", and the other way, "lost".

    Their numbers, and in "gained_questions" and "lost_questions" each with its passage (its index and title), its gold
    answer and what was answered before and after. Questions without a verdict in either are in neither.
    """
    found: dict[str, list[dict[str, Any]]] = {"gained": [], "lost": []}
    for index, (passage, old, new) in enumerate(zip(passages, before, after, strict=True)):
        for i, question in enumerate(passage.questions):
            was, now = old["correct"][i], new["correct"][i]
            if None in (was, now) or was == now:
                continue
            where = {"passage": index, "title": passage.title, "question": question.question, "answer": question.answer}
            found["gained" if now else "lost"].append(
                {**where, "before": old["answers"][i], "after": new["answers"][i]}
            )
    return {**{k: len(v) for k, v in found.items()}, **{f"{k}_questions": v for k, v in found.items()}}


def recorded(before: Sequence[Outcome], after: Sequence[Outcome], texts: int) -> dict[str, Any]:
    """The outcomes of the same passages before and after training on `texts` texts, in the reference's format.

    The verdicts of all questions are in "server_reply", in order. `recorded.cpt` reads it, and `seal aggregate`.
    There is no "per_article": keyed by title, it loses passages that share one.
    """
    was, now, old, new = ([x for o in of for x in o[key]] for key in ("correct", "answers") for of in (before, after))
    gains = [int(y or 0) - int(x or 0) for x, y in zip(was, now, strict=True)]
    graded = [[v for v in verdicts if v is not None] for verdicts in (was, now)]
    baseline, adapter = (float(np.mean(v)) if v else float("nan") for v in graded)
    overall = {"baseline_accuracy": baseline, "adapter_accuracy": adapter, "gain": adapter - baseline}
    overall = {key: round(value, 4) for key, value in overall.items()}
    return {
        "overall": overall,
        "n_articles": len(before),
        "train_sequences": texts,
        "eval_questions": len(was),
        "server_reply": {
            "baseline_accuracy": overall["baseline_accuracy"],
            "adapter_accuracy": overall["adapter_accuracy"],
            "adapter_gain": overall["gain"],
            "baseline_texts": old,
            "adapter_texts": new,
            "baseline_correct": was,
            "adapter_correct": now,
            "gains": gains,
        },
    }


def compare(a: Sequence[Outcome], b: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Mean difference a - b over questions, of accuracy and log-likelihood, with standard errors by passage.

    Questions without a verdict in either do not count.
    """
    found = {}
    for name, field in (("accuracy", "correct"), ("loglik", "loglik")):
        pairs = [
            (x, y, index)
            for index, (one, other) in enumerate(zip(a, b, strict=True))
            for x, y in zip(one[field], other[field], strict=True)
            if _known(x) and _known(y)
        ]
        difference = np.array([float(x) - float(y) for x, y, _ in pairs])
        mean = float(difference.mean()) if len(pairs) else float("nan")
        found[name] = {"difference": mean, "stderr": _stderr(difference, [index for *_, index in pairs])}
    return found


def _column(outcomes: Sequence[Outcome], field: str) -> tuple[np.ndarray, list[int]]:
    """The known values of all questions, and the passage of each."""
    pairs = [(float(v), index) for index, o in enumerate(outcomes) for v in o[field] if _known(v)]
    return np.array([v for v, _ in pairs]), [index for _, index in pairs]


def _known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _stderr(values: np.ndarray, clusters: Sequence[int]) -> float:
    return reward.clustered_stderr(values, clusters) if len(set(clusters)) > 1 else float("nan")


def _mean_stderr(values: np.ndarray) -> float:
    return reward.sample_std(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
