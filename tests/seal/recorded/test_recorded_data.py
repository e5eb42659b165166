"""The released files themselves: every row of the table of `experiments/recorded_data.py`."""

import pytest

from experiments import recorded_data as table


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "seal_recorded"


@pytest.mark.parametrize(("rows", "least"), [("sequence_rows", 10), ("selection_rows", 2), ("aggregate_rows", 5)])
def test_equal_to_what_was_recorded(folder, rows, least):
    found = list(getattr(table, rows)(folder))
    assert len(found) >= least
    assert [row for row in found if row[2] != row[3]] == []


def test_passages_are_in_the_recorded_order(folder, shared_data):
    found = list(table.subset_rows(folder, shared_data / "squad" / "squad_val.json"))
    assert {row[0] for row in found} == {"subset base_val", "subset gpt4_1_val"}
    assert all(row[2] == row[3] for row in found)


def test_sequential_edits_with_both_standard_deviations(folder):
    mean, plain, pooled = table.sequential_rows(folder)
    assert mean[1] == plain[1] == "row 0; 44 of 44 cells equal"
    assert (mean[2], plain[2]) == (mean[3], plain[3])
    assert pooled[2].split()[:5] == ["0.2511", "0.2668", "0.2252", "0.2505", "0.2485"]


def test_published_figures_of_sequential_edits(folder):
    metrics = table.recorded.aggregate([folder / "continual"]).result["metrics"]
    assert metrics["base"] == 0.3075
    assert (metrics["la"], metrics["op"]) == (0.4146, 0.2474)
    assert metrics["forgetting_last"] == pytest.approx(0.191, abs=5e-4)
    ages = [0.107, 0.052, -0.026, -0.066, -0.069, -0.100, -0.124, -0.142]
    assert metrics["gain_by_age"] == pytest.approx(ages, abs=6e-4)


def test_gained_and_lost_questions(folder):
    found = table.recorded.aggregate([folder / "cpt" / "cpt_base.json"])
    assert found.result["questions"] == {"total": 974, "gained": 163, "lost": 81, "ungraded": 0}
    assert "per_article has 47 titles and 233 of 974 questions" in found.notes[0]
