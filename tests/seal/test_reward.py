"""Rewards and statistics: recorded runs recomputed, closed forms, errors."""

import json
import statistics

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from seal_jax.seal import reward as R

RECORDED = ["ranking/rank_iter0", "ranking/rank_iter0_prompt-long", "eval/base", "eval/naive"]


def load(shared_data, name):
    return json.loads((shared_data / f"seal_recorded/{name}.json").read_text())


def verdicts(completion, key):
    runs = sorted({q["rep"] for q in completion["questions"]})
    return np.array([[q[key] for q in completion["questions"] if q["rep"] == run] for run in runs])


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_statistics(shared_data, name):
    run = load(shared_data, name)
    articles = []
    for article in run["articles"]:
        completions = []
        for completion in article["completions"]:
            pair = (verdicts(completion, key) for key in ("baseline_correct", "adapter_correct"))
            completions.append(R.completion_stats(*pair))
            stored = completion["stats"]
            assert completions[-1] == pytest.approx(stored, abs=1e-12)
            assert {k: v for k, v in completions[-1].items() if "mean" in k} == {
                k: v for k, v in stored.items() if "mean" in k
            }
        articles.append(R.article_stats(completions))
        assert R.rounded(articles[-1]) == article["stats"]
    assert R.rounded(R.overall_stats(articles)) == run["overall"]


@pytest.mark.parametrize(("name", "stderr"), [("eval/base", 0.0197), ("eval/naive", 0.0195)])
def test_published_standard_errors(shared_data, name, stderr):
    accuracy = [article["stats"]["adapter_mean_accuracy"] for article in load(shared_data, name)["articles"]]
    assert R.clustered_stderr(accuracy, range(len(accuracy))) == pytest.approx(stderr, abs=5e-5)


def test_most_of_the_recorded_lead_of_the_best_edit_is_noise(shared_data):
    articles = load(shared_data, "ranking/rank_iter0")["articles"]
    scores = [[verdicts(c, "adapter_correct").mean(1) for c in a["completions"]] for a in articles]
    noise = R.held_out_selection(scores)
    assert noise["all"] == pytest.approx(0.402, abs=5e-4)
    assert noise["selected"] == pytest.approx(0.543, abs=5e-4)
    assert noise["fresh"] == pytest.approx(0.427, abs=5e-4)
    assert noise["noise_share"] == pytest.approx(0.82, abs=5e-3)


def test_rewards():
    verdict = [[True, False, True], [True, True, True]]
    assert R.reward("accuracy", verdict) == pytest.approx(5 / 6)
    assert R.reward("binary", verdict, [True, True, False]) == 1.0
    assert R.reward("binary", verdict, [True, True, True]) == 0.0
    assert R.reward("binary", [[True, False]], [False, True]) == 0.0  # equal is no improvement
    assert R.reward("loglik", [[-1.0, -3.0]]) == -2.0
    assert R.reward("loglik", [[-1.0, float("nan")]]) == float("-inf")


def test_reward_errors():
    with pytest.raises(ValueError, match="'f1' is not one of accuracy, binary, loglik"):
        R.reward("f1", [[1.0]])
    with pytest.raises(ValueError, match="no question was answered"):
        R.reward("accuracy", [])
    with pytest.raises(ValueError, match="give the baseline"):
        R.reward("binary", [[1.0]])


values = st.lists(st.floats(-5, 5), min_size=2, max_size=20)


@given(values)
def test_one_value_a_cluster_is_the_plain_standard_error(x):
    plain = statistics.stdev(x) / len(x) ** 0.5
    assert R.clustered_stderr(x, range(len(x))) == pytest.approx(plain, abs=1e-9)


@given(values)
def test_copies_of_a_value_add_nothing(x):
    once, thrice = R.clustered_stderr(x, range(len(x))), R.clustered_stderr(x * 3, [*range(len(x))] * 3)
    assert once == pytest.approx(thrice, abs=1e-9)


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4)), min_size=1, max_size=20))
def test_clustered_error_against_its_formula(rows):
    x, labels = [v for v, _ in rows], [str(c) for _, c in rows]
    mean, groups = sum(x) / len(x), sorted(set(labels))
    squares = sum(sum(v - mean for v, c in zip(x, labels) if c == g) ** 2 for g in groups)
    if len(groups) == 1:
        assert np.isnan(R.clustered_stderr(x, labels))
    else:
        expected = (squares * len(groups) / (len(groups) - 1)) ** 0.5 / len(x)
        assert R.clustered_stderr(x, labels) == pytest.approx(expected, abs=1e-9)


def test_paired_and_cluster_means():
    assert R.paired([1, 0, 1], [0, 0, 1], ["a", "b", "b"]) == pytest.approx((1 / 3, 4 / 9))
    assert R.cluster_means([1, 0, 1], ["b", "b", "a"]).tolist() == [0.5, 1.0]
    with pytest.raises(ValueError, match=r"shapes \(1,\) and \(2,\) differ"):
        R.paired([1], [1, 2], ["a"])
    with pytest.raises(ValueError, match="2 clusters"):
        R.clustered_stderr([1.0], ["a", "b"])


def test_selection_noise():
    noise = R.selection_noise([[0.0, 1.0], [0.5, 0.5]], [1, 0], [0.5, 0.75])
    assert noise == {"all": 0.5, "selected": 0.75, "fresh": 0.625, "noise_share": 0.5}
    assert R.selection_noise([[0.0, 1.0, float("-inf")], [0.5]], [1, 0], [0.5, 0.75]) == noise
    assert R.selection_noise([[0.5]], [0], [0.1])["noise_share"] == 0.0
    with pytest.raises(ValueError, match="1 passages, 2 choices and 1 fresh rewards"):
        R.selection_noise([[0.5]], [0, 0], [0.1])
    with pytest.raises(ValueError, match=r"shape \(1, 1, 1\)"):
        R.held_out_selection([[[1.0]]])


def test_no_rows():
    with pytest.raises(ValueError, match="no rows to average"):
        R.article_stats([])
