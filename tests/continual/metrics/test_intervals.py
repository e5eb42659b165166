"""Intervals over examples: coverage, pairing, and what they refuse."""

import numpy as np
import pytest

from seal_jax.continual import metrics


def outcomes(accuracies, examples, seed=0):
    """For each task `[T, n]` of 0 and 1 with those chances."""
    random = np.random.default_rng(seed)
    accuracies = np.array(accuracies)
    return [
        (random.random((len(accuracies), n)) < accuracies[:, j, None]).astype(float) for j, n in enumerate(examples)
    ]


def test_value_is_that_of_the_matrix_of_means():
    found = outcomes([[0.9, 0.1], [0.6, 0.8]], (40, 60))
    matrix = np.array([x.mean(1) for x in found]).T
    intervals = metrics.bootstrap(found, draws=50, baseline=[0.1, 0.1])
    assert {n: i.value for n, i in intervals.items()} == pytest.approx(metrics.from_matrix(matrix, [0.1, 0.1]))
    assert all(i.low <= i.value <= i.high for i in intervals.values())


def test_intervals_have_the_width_of_the_standard_error():
    """Of the mean of two independent shares: 1.96 sqrt(p(1-p)/n) / sqrt(2)."""
    found = outcomes([[0.5, 0.5], [0.5, 0.5]], (400, 400))
    op = metrics.bootstrap(found, draws=4000)["op"]
    assert (op.high - op.low) / 2 == pytest.approx(1.96 * np.sqrt(0.25 / 400 / 2), rel=0.06)


def test_a_draw_takes_the_same_examples_in_each_row_and_of_both():
    same = outcomes([[0.5, 0.5], [0.5, 0.5]], (50, 50))
    same = [np.stack([x[0], x[0]]) for x in same]  # nothing is ever forgotten, example by example
    forgetting = metrics.bootstrap(same, draws=100)["forgetting"]
    assert forgetting == (0, 0, 0)
    difference = metrics.bootstrap_difference(same, [x - 0.25 for x in same], draws=100)["op"]
    assert difference == pytest.approx((0.25, 0.25, 0.25))


def test_outcomes_that_do_not_fit():
    good = outcomes([[0.5, 0.5], [0.5, 0.5]], (5, 6))
    with pytest.raises(ValueError, match=r"outcomes of task 1 have the shape \(3, 4\): give \[2, examples\]"):
        metrics.bootstrap([good[0], np.zeros((3, 4))])
    with pytest.raises(ValueError, match="not of the same examples"):
        metrics.bootstrap_difference(good, good[::-1])
    holed = [good[0], good[1].copy()]
    holed[1][1, 2] = np.nan
    with pytest.raises(ValueError, match="outcomes of task 1: some examples of a row have no score"):
        metrics.bootstrap(holed)
    with pytest.raises(ValueError, match="draws=1"):
        metrics.bootstrap(good, draws=1)
    with pytest.raises(ValueError, match="level=95"):
        metrics.bootstrap(good, draws=2, level=95)


def test_rows_above_the_diagonal_may_be_unknown():
    found = outcomes([[0.5, 0.5], [0.5, 0.5]], (5, 6))
    found[1][0] = np.nan
    assert np.isfinite(metrics.bootstrap(found, draws=10)["op"]).all()


def test_a_draw_takes_the_same_examples_of_a_vector_that_is_known_by_example():
    """A model that nothing has changed has a forward transfer of 0, example by example."""
    found = outcomes([[0.5, 0.5], [0.5, 0.5]], (50, 60))
    before = [found[0][1], found[1][0]]  # the score of task 1 just before it is learned
    means = [x.mean() for x in before]
    assert metrics.bootstrap(found, draws=100, baseline=before)["fwt"] == (0, 0, 0)
    fixed = metrics.bootstrap(found, draws=100, baseline=means)
    assert fixed["fwt"].low < 0 < fixed["fwt"].high
    assert fixed["op"] == metrics.bootstrap(found, draws=100, baseline=before)["op"]
    other = [x - 0.25 for x in found]
    difference = metrics.bootstrap_difference(found, other, draws=20, baseline=before)
    assert difference["fwt"] == pytest.approx((0.25, 0.25, 0.25))
    with pytest.raises(ValueError, match=r"baseline has \[\(50,\), \(5,\)\] for examples"):
        metrics.bootstrap(found, baseline=[before[0], before[1][:5]])
