"""Metrics of continual learning against vectors computed by other libraries' own functions."""

import numpy as np
import pytest

from seal_jax.evaluation.matrix import from_matrix

# From mammoth's functions and avalanche's classes; the last two tell the kinds of forgetting apart.
R1, BASELINE = [[0.90, 0.20, 0.10], [0.70, 0.80, 0.30], [0.75, 0.60, 0.85]], [0.10, 0.12, 0.08]
R2 = [[0.90, 0.2, 0.1], [0.95, 0.80, 0.3], [0.60, 0.70, 0.85]]
R3 = [[0.90, 0.2, 0.1], [0.70, 0.80, 0.3], [0.95, 0.60, 0.85]]
NAN = float("nan")


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        (R1, {"op": 0.733333, "la": 0.85, "aaa": 0.794444, "forgetting": 0.175, "bwt": -0.175, "fwt": 0.15}),
        (R2, {"op": 0.716667, "la": 0.85, "forgetting": 0.225, "forgetting_last": 0.2, "bwt": -0.2}),
        (R3, {"forgetting": 0.075, "forgetting_max_all": 0.1, "forgetting_last": 0.075, "bwt": -0.075}),
    ],
)
def test_published_vectors(scores, wanted):
    found = from_matrix(scores, BASELINE)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)


def test_logs_of_a_published_run():
    """O-LoRA's and sequential fine-tuning's rows of order 1, in percent; above the diagonal nothing is known."""
    rows = [[98.7105], [98.5526, 57.7632], [97.4079, 57.4079, 71.9079], [97.7368, 56.0658, 71.0395, 88.6184]]
    for fill in (NAN, 0.0):
        found = from_matrix([[*r, *[fill] * (4 - len(r))] for r in rows], single=[98.7105, 57.7632, 71.9079, 90.0])
        wanted = {"op": 78.365125, "la": 79.25, "forgetting": 1.179833, "bwt": -1.179833, "fwt_vs_single": -0.3454}
        assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)


def test_what_is_not_known_does_not_count():
    holed = [[0.5, NAN], [NAN, 0.25]]
    found = from_matrix(holed)
    assert found["op"] == 0.25
    assert found["la"] == 0.375
    assert np.isnan(found["bwt"])
    assert np.isnan(found["forgetting"])
    assert np.isnan(from_matrix([[0.5]])["forgetting_max_all"])


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"shape \(2, 3\): give a square matrix"):
        from_matrix(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"baseline has the shape \(2,\): give one score for each of the 3 tasks"):
        from_matrix(R1, baseline=[0.1, 0.2])
