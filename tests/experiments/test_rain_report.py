"""`experiments.rain_report`: shares, paired differences, costs, and the figure."""

import numpy as np
import pytest

from experiments import rain_report
from seal_jax.data.worlds import dialogue

PROBLEMS = dialogue.problems("dev", 9)
CALM, PROVOKING = [True] * 5, [False] * 4


def run(good, tokens, seconds=18.0):
    return {
        "good": good,
        "values": [1.0] * 9,
        "lengths": [10] * 9,
        "passes": [11] * 9,
        "tokens_processed": tokens,
        "texts": ["."] * 9,
        "seconds": seconds,
    }


FOUND = {
    "greedy": [run(CALM + PROVOKING, [20] * 9)],
    "rain": [
        run(CALM + [True] * 4, [100] * 5 + [190] * 4, 90.0),
        run([*CALM, True, True, False, False], [100] * 5 + [190] * 4, 45.0),
    ],
}


@pytest.fixture(scope="module")
def result():
    return rain_report.summary(PROBLEMS, FOUND)


def test_shares_by_kind_and_seed(result):
    assert result["prompts"] == {"all": 9, "calm": 5, "provoking": 4}
    assert result["methods"]["greedy"]["calm"]["good"] == [1.0, 0.0]
    rain = result["methods"]["rain"]
    assert rain["provoking"]["good"] == pytest.approx([0.75, np.std([1, 1, 0.5, 0.5], ddof=1) / 2])
    assert rain["provoking"]["by_seed"] == [1.0, 0.5]
    assert rain["all"]["liked_but_bad"] == pytest.approx(2 / 18)


def test_differences_are_paired_by_prompt(result):
    difference = np.array([0] * 5 + [1, 1, 0.5, 0.5])
    expected = [difference.mean(), difference.std(ddof=1) / 3]
    assert result["methods"]["rain"]["all"]["differences"]["greedy"] == pytest.approx(expected)


def test_costs(result):
    costs = result["costs"]["rain"]
    assert costs["all"]["tokens_per_token"] == pytest.approx(14.0)
    assert costs["provoking"]["tokens"] == 190
    assert costs["seconds"] == {"first": 1.0, "fastest": 0.5}


def test_what_is_shown(result, tmp_path, capsys):
    rain_report.show(tmp_path, {**result, "samples": {"best_of": 3}})
    assert "100.0 ± 0.0" in capsys.readouterr().out
    assert (tmp_path / "rain.png").stat().st_size > 10_000
