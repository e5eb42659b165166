"""Figures of sequences against the recorded runs of the reference, and against each other."""

import numpy as np
import pytest

from seal_jax.evaluation.matrix import from_matrix
from seal_jax.runtime.files import read_json, write_json
from seal_jax.seal import sequential_metrics as metrics
from seal_jax.seal.recorded import files, sequential


@pytest.fixture(scope="module")
def runs(shared_data):
    return [read_json(shared_data / f"seal_recorded/continual/run{i}.json") for i in range(8)]


def test_figures_of_the_recorded_mean(runs):
    """The mean of all figures but the best-of ones is the figure of the mean matrix."""
    mean = np.mean([run["mean_over_sequences"] for run in runs], axis=0).round(4)
    mean[1:] = np.where(np.tril(np.ones((8, 8), bool)), mean[1:], np.nan)
    found = metrics.summary(mean[None])
    wanted = {"base": 0.3075, "la": 0.4146, "op": 0.2474, "gain": 0.107, "final_gain": -0.060}
    assert {k: found[k]["mean"] for k in wanted} == pytest.approx(wanted, abs=5e-4)
    assert found["forgetting_last"]["mean"] == pytest.approx(0.191, abs=5e-4)
    ages = [round(row["mean"], 3) for row in found["gain_by_age"]]
    assert ages == [0.107, 0.052, -0.026, -0.066, -0.069, -0.100, -0.124, -0.142]
    assert np.isnan(found["gain"]["stderr"])


@pytest.fixture(scope="module")
def matrices():
    random = np.random.default_rng(0)
    found = random.integers(0, 7, (12, 6, 5)) / 6
    found[:, 1:][:, ~np.tril(np.ones((5, 5), bool))] = np.nan
    return found


def test_means_and_errors_are_over_sequences(matrices):
    found = metrics.summary(matrices)
    assert (found["sequences"], found["steps"]) == (12, 5)
    one_by_one = [from_matrix(m[1:]) for m in matrices]
    for ours, theirs in {"la": "la", "op": "op", "forgetting": "forgetting", "bwt": "bwt"}.items():
        values = [row[theirs] for row in one_by_one]
        assert found[ours]["mean"] == pytest.approx(np.mean(values))
        assert found[ours]["stderr"] == pytest.approx(np.std(values, ddof=1) / 12**0.5)
    assert found["gain"]["mean"] == pytest.approx(found["la"]["mean"] - found["base"]["mean"])
    ages = found["gain_by_age"]
    assert [row["age"] for row in ages] == [0, 1, 2, 3, 4]
    assert ages[0]["mean"] == pytest.approx(found["gain"]["mean"])
    assert ages[0]["stderr"] == pytest.approx(found["gain"]["stderr"])
    oldest = matrices[:, 5, 0] - matrices[:, 0, 0]
    assert ages[4]["mean"] == pytest.approx(oldest.mean())
    by_hand = [np.mean([m[4, 0] - m[0, 0], m[5, 1] - m[0, 1]]) for m in matrices]
    assert ages[3] == {"age": 3, **metrics.estimate(by_hand)}
    since = found["change_by_age"]
    assert since[0] == {"age": 0, "mean": 0.0, "stderr": 0.0}
    by_hand = [np.mean([m[4, 0] - m[1, 0], m[5, 1] - m[2, 1]]) for m in matrices]
    assert since[3] == {"age": 3, **metrics.estimate(by_hand)}


def test_differences_are_paired(matrices):
    better = np.minimum(matrices + 0.125, 2)
    found = metrics.difference(better, matrices)
    assert found["op"]["mean"] == pytest.approx(0.125)
    assert found["op"]["stderr"] == pytest.approx(0, abs=1e-12)
    assert found["gain"]["mean"] == pytest.approx(0)
    with pytest.raises(ValueError, match="paired matrices are of the same sequences"):
        metrics.difference(matrices, matrices[:3])


def test_the_recorded_format(matrices, runs, tmp_path):
    """Written, read and put together, sequences have the mean and the pooled deviation that they have together."""
    parts = [metrics.recorded(matrices[i : i + 4], "data.json", "model") for i in (0, 4, 8)]
    assert parts[0].keys() == runs[0].keys()
    assert parts[0]["mean_over_sequences"][1][1:] == [0.0] * 4
    for i, part in enumerate(parts):
        write_json(tmp_path / f"run{i}.json", part)
    found = sequential.combined([sequential.run_of(files.read(path)) for path in sorted(tmp_path.iterdir())])
    mean, error = metrics.mean_matrix(matrices)
    np.testing.assert_allclose(found["overall"]["mean_over_sequences"], np.nan_to_num(mean), atol=5e-5)
    pooled = np.nan_to_num(error) * 12**0.5
    np.testing.assert_allclose(found["standard_deviations"]["pooled"], pooled, atol=5e-5)
    stds = np.mean([m[:, 2, 0].std(ddof=1) for m in matrices.reshape(3, 4, 6, 5)])
    assert found["standard_deviations"]["mean_of_run_stds"][2][0] == pytest.approx(stds, abs=5e-5)


def test_recorded_deviations_are_of_the_sequences_that_have_a_number(matrices):
    ungraded = matrices.copy()
    ungraded[[0, 3], 2, 0] = np.nan
    found = metrics.recorded(ungraded, "data.json", "model")["std_over_sequences"]
    assert found[2][0] == pytest.approx(np.nanstd(ungraded[:, 2, 0], ddof=1))
    assert found[2][1] == pytest.approx(matrices[:, 2, 1].std(ddof=1))


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"shape \(2, 3, 3\): give \[sequences, steps \+ 1, steps\]"):
        metrics.summary(np.zeros((2, 3, 3)))
