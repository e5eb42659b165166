"""Figures of matrices against vectors of other libraries' own functions and recorded logs."""

import numpy as np
import pytest

from seal_jax.continual import metrics

# Computed with mammoth's functions and avalanche's classes; the last two tell the kinds of forgetting apart.
R1, BASELINE = [[0.90, 0.20, 0.10], [0.70, 0.80, 0.30], [0.75, 0.60, 0.85]], [0.10, 0.12, 0.08]
R2 = [[0.90, 0.2, 0.1], [0.95, 0.80, 0.3], [0.60, 0.70, 0.85]]
R3 = [[0.90, 0.2, 0.1], [0.70, 0.80, 0.3], [0.95, 0.60, 0.85]]
# Exact match in percent after each task of dbpedia, amazon, yahoo, agnews, from the logs that O-LoRA publishes.
O_LORA = [[98.7105], [98.5526, 57.7632], [97.4079, 57.4079, 71.9079], [97.7368, 56.0658, 71.0395, 88.6184]]
SEQ_FT = [[97.0132], [89.1053, 55.25], [74.7632, 53.4474, 72.2763], [79.5263, 52.6711, 48.8421, 90.0263]]
NAN = float("nan")


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        (
            R1,
            {
                "op": 0.733333,
                "la": 0.85,
                "aaa": 0.794444,
                "forgetting": 0.175,
                "forgetting_last": 0.175,
                "forgetting_max_all": 0.175,
                "bwt": -0.175,
                "bwt_lower": -0.183333,
                "fwt": 0.15,
                "fwt_upper": 0.20,
            },
        ),
        (R2, {"op": 0.716667, "la": 0.85, "forgetting": 0.225, "forgetting_last": 0.2, "bwt": -0.2}),
        (R3, {"forgetting": 0.075, "forgetting_max_all": 0.1, "forgetting_last": 0.075, "bwt": -0.075}),
        (O_LORA, {"op": 78.365125, "la": 79.25, "forgetting": 1.179833, "bwt": -1.179833}),
        (SEQ_FT, {"op": 67.76645, "la": 78.64145, "forgetting": 14.5, "bwt": -14.5}),
    ],
    ids=["R1", "R2", "R3", "O-LoRA", "SeqFT"],
)
def test_published_vectors(scores, wanted):
    found = metrics.from_matrix(scores, BASELINE if len(scores) == 3 else None)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-5)


def test_figures_by_task():
    """avalanche: forgetting {0: .15, 1: .20}, BWT their negatives, FWT {1: .08, 2: .22}."""
    found = metrics.by_task(R1, BASELINE)
    assert found["forgetting"] == pytest.approx([0.15, 0.2, None])
    assert found["bwt"] == pytest.approx([-0.15, -0.2, None])
    assert found["fwt"] == pytest.approx([None, 0.08, 0.22])
    assert found["final"] == R1[-1]
    assert metrics.by_task(R3)["forgetting_max_all"] == pytest.approx([0, 0.2, None])
    assert metrics.by_task([[0.5]])["forgetting"] == [None]


def test_what_other_runs_are_needed_for():
    assert set(metrics.from_matrix(R1)) == set(metrics.from_matrix(R1, BASELINE)) - {"fwt", "fwt_upper"}
    found = metrics.from_matrix(R1, single=[0.95, 0.9, 0.9], joint=[0.9, 0.85, 0.95])
    assert found["fwt_vs_single"] == pytest.approx(0.85 - 2.75 / 3)
    assert found["intransigence"] == pytest.approx((0 + 0.05 + 0.10) / 3)


def test_the_curve_ends_in_overall_performance_and_its_mean_is_the_average():
    curve, found = metrics.curve(O_LORA), metrics.from_matrix(O_LORA)
    assert curve[0] == 98.7105
    assert curve[-1] == pytest.approx(found["op"])
    assert curve.mean() == pytest.approx(found["aaa"])


def test_what_is_above_the_diagonal_is_not_read():
    plain = metrics.from_matrix(O_LORA)
    for fill in (NAN, 0.0, 55.0):
        assert metrics.from_matrix([[*row, *[fill] * (4 - len(row))] for row in O_LORA]) == plain


def test_one_task_has_nothing_to_forget():
    found = metrics.from_matrix([[0.5]])
    assert found["op"] == found["la"] == found["aaa"] == 0.5
    assert all(np.isnan(found[name]) for name in ("bwt", "bwt_lower", "forgetting", "forgetting_max_all"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.5, 0.1], [NAN, 0.5]],), r"no number at scores\[1\]\[0\]: fill it in, or allow holes"),
        (([[0.5], [0.4, 0.5]], [0.1, 0.1]), r"no number at scores\[0\]\[1\] \(a baseline is compared with what is ri"),
        ((R1, [0.1, NAN, 0.1]), r"no number at baseline\[1\]"),
        ((R1, None, [0.1, NAN, 0.2]), r"no number at single\[1\]"),
        (([[NAN], [NAN, NAN], [NAN] * 3],), r"scores\[0\]\[0\], scores\[1\]\[0\], scores\[1\]\[1\] and 3 more"),
        (([[0.5, 0.1, 0.2], [0.4, 0.5, 0.2]],), "row 0 of the scores has 3 entries: after task 0 of 2 give 1 to 2"),
        (([[0.5], [0.4]],), "row 1 of the scores has 1 entries: after task 1 of 2 give 2 to 2"),
        (([],), "give a row of scores for each task learned"),
        (([0.5, 0.4],), r"shape \(2,\): give a row of scores"),
        ((R1, [0.1, 0.2]), r"baseline has the shape \(2,\): give one score for each of the 3 tasks"),
        ((R1, None, None, [1]), r"joint has the shape \(1,\)"),
    ],
)
def test_scores_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.from_matrix(*arguments)


def test_forward_transfer_reads_the_scores_right_above_the_diagonal():
    """And of the baseline all but the first; the mean above the diagonal is there where all of it is known."""
    rows = [[0.90, 0.20], [0.70, 0.80, 0.30], [0.75, 0.60, 0.85]]
    found = metrics.from_matrix(rows, [NAN, *BASELINE[1:]])
    assert found["fwt"] == pytest.approx(0.15)
    assert "fwt_upper" not in found
    assert metrics.from_matrix(rows, BASELINE, holes=True)["fwt_upper"] == pytest.approx(0.25)
    assert metrics.from_matrix(R1, [NAN, *BASELINE[1:]])["fwt_upper"] == pytest.approx(0.2)


def test_the_best_of_all_rows_is_since_the_task_was_learned():
    """A score above the diagonal that is higher than any later one counts for mammoth, and not here."""
    found = metrics.from_matrix([[0.9, 0.99, 0.1], [0.7, 0.8, 0.3], [0.75, 0.6, 0.85]])
    assert found["forgetting_max_all"] == pytest.approx((0.15 + 0.2) / 2)


def test_holes_where_they_are_allowed():
    found = metrics.from_matrix([[0.5], [NAN, 0.25]], holes=True)
    assert found["op"] == 0.25
    assert found["la"] == 0.375
    assert np.isnan(found["bwt"])


def test_figures_over_runs():
    found = metrics.over_runs([{"op": 0.5, "bwt": NAN}, {"op": 0.7, "bwt": 0.1}])
    assert found["op"] == pytest.approx((0.6, 0.1, 2))
    assert found["bwt"].runs == 1
    assert np.isnan(found["bwt"].stderr)
