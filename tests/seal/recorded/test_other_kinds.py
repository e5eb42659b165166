"""Continued pretraining, sequential edits, ARC: by hand, and the defects of such files."""

import numpy as np
import pytest
from oracles.recorded_files import cpt, few_shot, runs

from seal_jax.seal import recorded, sequential_metrics


def test_continued_pretraining_counts_questions(save):
    found = recorded.aggregate([save(cpt())])
    assert found.result["overall"] == {"baseline_accuracy": 0.2, "adapter_accuracy": 0.6, "gain": 0.4}
    assert found.result["questions"] == {"total": 5, "gained": 3, "lost": 1, "ungraded": 0}
    assert found.notes == [
        "per_article has 1 titles and 2 of 5 questions, because passages that share a title overwrote each other; "
        "server_reply has all and was used"
    ]
    alone = recorded.aggregate([save(cpt()["server_reply"])])
    assert (alone.kind, alone.result, alone.notes) == ("reply", found.result, [])


def test_the_gain_is_that_of_the_accuracies_and_not_of_their_decimals(save):
    value = cpt()
    value["server_reply"] = {"baseline_correct": [1] * 324 + [0] * 650, "adapter_correct": [1] * 427 + [0] * 547}
    overall = recorded.aggregate([save(value)]).result["overall"]
    assert overall == {"baseline_accuracy": 0.3326, "adapter_accuracy": 0.4384, "gain": 0.1057}


def test_stored_figures_of_continued_pretraining_are_checked(save):
    value = cpt()
    value["overall"]["gain"], value["eval_questions"], value["server_reply"]["gains"] = 0.5, 7, [0] * 5
    found = recorded.aggregate([save(value)])
    assert found.result["overall"]["gain"] == 0.4
    assert found.notes[0].endswith("server_reply: its gains are not those of its verdicts")
    assert found.notes[2] == "eval_questions is 7; server_reply has 5 verdicts"
    assert found.notes[3] == "the file states gain 0.5; recomputed, it is 0.4"


def test_without_a_reply_articles_are_used_only_if_complete(save):
    value = cpt()
    del value["server_reply"]
    with pytest.raises(
        ValueError, match="there is no server_reply, and per_article keeps 2 of 5 questions: it is keyed by"
    ):
        recorded.aggregate([save(value)])
    value["eval_questions"] = 2
    found = recorded.aggregate([save(value)])
    assert found.result["overall"] == {"baseline_accuracy": 0.0, "adapter_accuracy": 0.5, "gain": 0.5}
    assert found.notes[0].startswith("there is no server_reply; per_article was used")


def test_ungraded_questions_of_continued_pretraining(save):
    value = cpt()["server_reply"]
    value["adapter_correct"][4] = None
    found = recorded.aggregate([save(value)])
    assert found.result["overall"]["adapter_accuracy"] == 0.75
    assert found.result["questions"]["ungraded"] == 1


def test_a_failed_reply(save):
    with pytest.raises(ValueError, match="the server answered with an error: 'RuntimeError: no'"):
        recorded.aggregate([save({"error": "RuntimeError: no"})])
    with pytest.raises(ValueError, match="server_reply: 5 verdicts before and 1 after"):
        recorded.aggregate([save({**cpt(), "server_reply": {**cpt()["server_reply"], "adapter_correct": [True]}})])


def sequences(m, s):
    """Two numbers with mean m and sample standard deviation s."""
    return [m - s / 2**0.5, m + s / 2**0.5]


def test_several_runs_have_two_standard_deviations(save):
    one, two = runs()
    found = recorded.aggregate([save(one, "a.json"), save(two, "b.json")])
    overall, deviations = found.result["overall"], found.result["standard_deviations"]
    np.testing.assert_allclose(overall["mean_over_sequences"], [[0.3, 0.4], [0.7, 0.0], [0.3, 0.7]])
    np.testing.assert_allclose(deviations["mean_of_run_stds"], [[0.2, 0.2], [0.2, 0.0], [0.2, 0.1]])
    assert overall["std_over_sequences"] == deviations["mean_of_run_stds"]
    cells = [sequences(0.2, 0.1) + sequences(0.4, 0.3), sequences(0.4, 0.2) * 2]
    np.testing.assert_allclose(deviations["pooled"][0], [np.std(cell, ddof=1) for cell in cells], atol=5e-5)
    rest = {key: overall[key] for key in list(overall)[2:]}
    assert rest == {"n_sequences": 4, "n_datapoints": 2, "dataset": "squad.json", "base_model": "m"}
    assert found.result["metrics"] == {
        "base": 0.35,
        "la": 0.7,
        "op": 0.5,
        "gain": 0.35,
        "final_gain": 0.15,
        "forgetting": 0.4,
        "forgetting_last": 0.4,
        "bwt": -0.4,
        "gain_by_age": [0.35, 0.0],
        "change_by_age": [0.0, -0.4],
    }


def test_figures_are_those_of_our_own_runs(save):
    """One name, one meaning: `seal sequential` and `seal aggregate` say the same of the same matrix."""
    matrix = np.array([[0.1, 0.2, 0.3], [0.4, 0, 0], [0.7, 0.5, 0], [0.2, 0.3, 0.6]])
    item = {"mean_over_sequences": matrix.tolist(), "std_over_sequences": (matrix * 0).tolist(), "n_datapoints": 3}
    told = recorded.aggregate([save({**runs()[0], **item})]).result["metrics"]
    matrix[1:][~np.tril(np.ones((3, 3), bool))] = np.nan
    ours = sequential_metrics.summary(matrix[None])
    for name, value in told.items():
        want = [row["mean"] for row in ours[name]] if "age" in name else ours[name]["mean"]
        assert value == pytest.approx(want, abs=5.1e-5), name  # 4 decimals
    assert told["forgetting"] > told["forgetting_last"]  # item 0 was best a step after its own edit
    assert set(told) == set(ours) - {"sequences", "steps"}


def test_a_run_counts_once_and_what_is_left_out_is_told(save, tmp_path):
    one, two = runs()
    first = save(one, "d/summary_0.json")
    save(two, "d/summary_1.json")
    want = recorded.aggregate([tmp_path / "d"])
    twice = recorded.aggregate([tmp_path / "d", first, tmp_path / "d" / ".." / "d" / "summary_0.json"])
    assert twice.result == want.result
    assert twice.notes[len(want.notes) :] == [f"1 files were named more than once and count once, first: {first}"]
    copy = save(one, "d/summary_2.json")
    found = recorded.aggregate([tmp_path / "d"])
    assert found.result["overall"]["n_sequences"] == 6
    assert found.notes[-1] == f"{copy} has the same numbers as {first}; both count: leave one out if it is a copy"
    copy.unlink()
    other = save(two, "d/run3.json")
    found = recorded.aggregate([tmp_path / "d"])
    assert found.result == want.result
    assert found.notes[-1] == (
        f"1 other .json files in {tmp_path / 'd'} were left out, since there are summary*.json, first: {other}"
    )
    save(one, "flat/run0.json")
    other = save({"anything": 1}, "flat/config.json")
    found = recorded.aggregate([tmp_path / "flat"])
    assert found.result["overall"] == one
    assert found.notes[-1] == (
        f"1 other .json files in {tmp_path / 'flat'} were left out, since they are no summaries, first: {other}"
    )


def test_runs_of_different_size_count_by_sequence(save):
    one, two = runs()
    two["n_sequences"], two["base_model"] = 6, "other"
    found = recorded.aggregate([save(one, "a.json"), save(two, "b.json")]).result
    assert found["overall"]["mean_over_sequences"][0] == [0.35, 0.4]
    assert found["overall"]["base_model"] == ["m", "other"]
    pooled = ((1 * 0.1**2 + 5 * 0.3**2 + 2 * 0.15**2 + 6 * 0.05**2) / 7) ** 0.5
    assert found["standard_deviations"]["pooled"][0][0] == round(pooled, 4)


def test_a_directory_of_runs_beside_their_aggregate(save, tmp_path):
    one, two = runs()
    save(one, "set/run0/summary_1.json")
    save(two, "set/run1/summary_2.json")
    save({"anything": 1}, "set/run1/log.json")
    want = recorded.aggregate([tmp_path / "set"])
    assert want.result["overall"]["n_sequences"] == 4
    save({**want.result["overall"]}, "set/overall_results.json")
    assert recorded.aggregate([tmp_path / "set"]).result == want.result
    assert recorded.aggregate([tmp_path / "set"]).notes[1].endswith("is an aggregate and no run; it is equal to this")
    save({**want.result["overall"], "n_sequences": 5}, "set/overall_results.json")
    assert "NOT equal" in recorded.aggregate([tmp_path / "set"]).notes[1]
    assert recorded.aggregate([tmp_path / "set" / "run0"]).result["overall"] == one
    # without the reference's names
    save(one, "flat/run0.json")
    save(two, "flat/run1.json")
    save({"anything": 1}, "flat/config.json")
    assert recorded.aggregate([tmp_path / "flat"]).result == want.result


def test_one_summary_is_shown_as_it_is(save):
    one = runs()[0]
    one["mean_over_sequences"][0][0] = 0.123456
    found = recorded.aggregate([save(one)])
    assert found.result["overall"] == one
    assert "nothing finer" in found.notes[0]
    assert "mean_of_run_stds" in recorded.aggregate([save(one, "overall_results.json")]).notes[1]


def test_cells_beyond_the_edits_may_be_anything_and_others_null(save):
    one, two = runs()
    one["mean_over_sequences"][1][1] = None
    two["std_over_sequences"][2][0] = float("nan")
    found = recorded.aggregate([save(one, "a.json"), save(two, "b.json")])
    assert found.result["overall"]["mean_over_sequences"][1] == [0.7, 0.0]
    assert np.isnan(found.result["overall"]["std_over_sequences"][2][0])
    assert "b.json has cells without a number" in found.notes[1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"n_datapoints": 3}, "'mean_over_sequences' has 3 rows; expected one more than the 3 items"),
        ({"n_sequences": 0}, "'n_sequences' is 0; expected 1 or more"),
        ({"std_over_sequences": [[1, 2], [3]]}, "'std_over_sequences' has 2 rows"),
        (
            {"mean_over_sequences": [[0.1, 0.2], [0.3], [0.4, 0.5]]},
            "row 1 should be a list of 2 numbers, not a list of 1",
        ),
        ({"mean_over_sequences": [[1, "x"], [1, 0], [1, 1]]}, "row 0, column 1 should be a number or null, not 'x'"),
        ({"mean_over_sequences": [[1, 50], [1, 0], [1, 1]]}, "row 0, column 1 is 50.0; expected an accuracy, 0 to 1"),
    ],
)
def test_bad_summaries(save, change, problem):
    with pytest.raises(ValueError, match=problem):
        recorded.aggregate([save({**runs()[0], **change})])


def test_sets_that_do_not_belong_together(save):
    short = {"mean_over_sequences": [[0.1], [0.2]], "std_over_sequences": [[0.1], [0.2]], "n_datapoints": 1}
    one, other = save(runs()[0], "a.json"), save({**runs()[0], **short}, "b.json")
    with pytest.raises(ValueError, match=r"b\.json: its matrix is \(2, 1\), and that of .*a\.json \(3, 2\)"):
        recorded.aggregate([one, other])
    with pytest.raises(ValueError, match=r"c\.json: this is the results of continued pretraining; .* several files"):
        recorded.aggregate([one, save(cpt(), "c.json")])


def test_arc_results(save):
    found = recorded.aggregate([save(few_shot())])
    assert found.result["overall"] == {
        "accuracy": 0.5,
        "solved": 2,
        "attempts": 4,
        "edits": 2,
        "tasks": 2,
        "tasks_solved": 1,
    }
    value = few_shot()
    value["1"]["correct"]["1"] = None
    assert recorded.aggregate([save(value)]).result["overall"]["attempts"] == 3
    value["1"]["correct"]["9"] = True
    with pytest.raises(ValueError, match="edit '1': 'correct' has the row '9', which 'task_id' has not"):
        recorded.aggregate([save(value)])
