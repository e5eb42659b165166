"""FUAR, TRACE's deltas and the alignment tax against published tables."""

import math

import pytest

from seal_jax.continual import metrics

# T5 of CKL: scores before are Invariant 24.17, Updated 1.62, New 1.88; after, and the ratio that is published.
CKL = {
    "Vanilla": (12.89, 10.17, 3.77, 1.08),
    "RecAdam": (13.20, 12.55, 4.02, 0.84),
    "MixReview": (13.92, 6.49, 2.89, 1.74),
    "LoRA": (16.58, 12.77, 4.52, 0.55),
    "K-Adapter": (19.59, 12.34, 5.03, 0.33),
    "Modular": (20.29, 12.66, 4.65, 0.28),
}
TASKS = ("MMLU", "GSM", "BBH", "TyDiQA", "BoolQ", "PIQA")
BASE = (46.56, 26.08, 40.23, 23.47, 70.55, 76.22)
TRACE = {
    "SeqFT": ((46.43, 3.49, 30.11, 33.23, 77.89, 76.5), -2.5767, "GSM", -22.59),
    "LoRASeq": ((42.28, 14.71, 33.61, 21.72, 53.43, 75.19), -7.0283, "BoolQ", -17.12),
    "Replay": ((47.04, 3.03, 36.61, 31.57, 75.75, 75.3), -2.3017, "GSM", -23.05),
}


@pytest.mark.parametrize("method", CKL)
def test_published_ratios(method):
    invariant, updated, new, published = CKL[method]
    found = metrics.fuar([(24.17, invariant)], (1.62, updated), (1.88, new))
    assert round(found.value, 2) == published
    assert not found.no_gain


def test_ratio_without_gain_or_loss():
    nothing = metrics.fuar([(0.5, 0.4)], (0.3, 0.2), None)
    assert nothing.no_gain
    assert nothing.value == math.inf
    assert math.isnan(metrics.fuar([(0.5, 0.6)], (0.3, 0.3), (0.2, 0.1)).value)
    assert metrics.fuar([(0.5, 0.6), (0.7, 0.6)], None, (0.2, 0.4)).value == pytest.approx(0.5)  # gains do not pay
    with pytest.raises(ValueError, match=r"\(nan, 0.4\): two numbers are needed"):
        metrics.fuar([(math.nan, 0.4)], None, None)


@pytest.mark.parametrize("method", TRACE)
def test_published_deltas(method):
    scores, mean, worst, change = TRACE[method]
    found = metrics.trace_delta(scores, BASE, TASKS)
    assert found.mean == pytest.approx(mean, abs=1e-4)
    assert found.worst == worst
    assert found.by_task[worst] == pytest.approx(change)
    assert metrics.alignment_tax(scores, BASE) == -found.mean
    lines = found.lines()
    assert worst in lines[1]
    assert lines[1].endswith("(worst)")
    assert len(lines) == 7
    assert sum("worst" in line for line in lines) == 1


def test_scores_by_name():
    found = metrics.trace_delta({"a": 1.0, "b": 2.0}, {"b": 1.0, "a": 3.0})
    assert found.by_task == {"a": -2.0, "b": 1.0}
    with pytest.raises(ValueError, match="scores of a and base of b"):
        metrics.trace_delta({"a": 1.0}, {"b": 1.0})
    with pytest.raises(ValueError, match="base: 1 scores for the 2 tasks a, b"):
        metrics.trace_delta([1.0, 2.0], [1.0], ["a", "b"])
    with pytest.raises(ValueError, match="scores of task 0: nan is no score"):
        metrics.trace_delta([math.nan], [1.0])
