"""A whole study on a tiny model: what it reports, that it goes on where it was stopped, and what it refuses."""

import dataclasses
import math

import micro_arc
import pytest
from micro_arc import SEED, SETTINGS, TEST, TRAIN, task

from seal_jax import runtime
from seal_jax.runtime.files import read_json
from seal_jax.seal.arc import study
from seal_jax.seal.arc.texts import Texts


@pytest.fixture(scope="module")
def micro(tmp_path_factory):
    """A study that nothing interrupted: its folder and its result."""
    folder = tmp_path_factory.mktemp("arc")
    return folder, read_json(micro_arc.run(folder))


def test_conditions_rounds_and_differences(micro):
    result = micro[1]
    names = ("icl_single", "icl", "round_0", "random_configs", "oracle", "round_1", "round_1_first_model")
    for name in names:
        assert result[name]["tasks"] == 3
        assert 0 <= result[name]["accuracy"] <= 1
        assert result[name]["cells"] == 0
    [report] = result["rounds"]
    assert report["edits"] == 6
    assert report["responses"] >= 6
    assert report["cloned"] == round(6 * report["reward"]) > 0
    assert report["distinct"] <= report["edits"] - report["without_edit"]
    assert report["tasks_solved"] <= report["tasks"] == 2
    assert result["round_0"]["written"]["edits"] == 3
    for pair, fields in result["differences"].items():
        a, b = pair.split(" - ")
        assert fields["accuracy"]["difference"] == pytest.approx(result[a]["accuracy"] - result[b]["accuracy"])
    assert "round_1 - round_0" in result["differences"]


def test_a_study_that_was_stopped_goes_on_to_the_same_numbers(micro, tmp_path, monkeypatch):
    """Stopped at one write after another, until it comes to its end."""
    add, count = runtime.Items.add, 0

    def stop_at_times(self, id, value):
        nonlocal count
        count += 1
        if count % 5 == 3:
            raise KeyboardInterrupt
        return add(self, id, value)

    monkeypatch.setattr(runtime.Items, "add", stop_at_times)
    stopped = 0
    while not (tmp_path / "result.json").exists():
        try:
            micro_arc.run(tmp_path)
        except KeyboardInterrupt:
            stopped += 1
    assert stopped > 5
    found = read_json(tmp_path / "result.json")
    assert {k: v for k, v in found.items() if k != "seconds"} == {k: v for k, v in micro[1].items() if k != "seconds"}


def test_the_policy_learns_its_own_solutions(micro, arc_model, arc_texts):
    """The losses that were logged are those of behaviour cloning on the rows with reward 1, in the cosine schedule."""
    from seal_jax.seal import policy as cloning
    from seal_jax.seal.arc import policy

    stage = lambda name: read_json(micro[0] / "stages" / "round_1" / f"{name}.json")["value"]  # noqa: E731
    written = [
        [policy.Written(w["text"], policy.read(w["text"], t, arc_texts), w["refused"]) for w in edits]
        for t, edits in zip(TRAIN, stage("edits"))
    ]
    solved = iter(stage("trials"))
    rewards = [[float(next(solved)["correct"]) for _ in edits] for edits in written]
    rows = policy.cloning_rows(TRAIN, written, rewards, arc_texts)
    assert len(rows) == micro[1]["rounds"][0]["cloned"]
    losses = cloning.improve(arc_model, rows, SETTINGS.policy, SEED)[1]
    logged = runtime.files.JsonLines(micro[0] / "metrics.jsonl").rows
    assert [row["loss"] for row in logged if row["stage"] == "round_1/policy"] == losses
    linear = dataclasses.replace(SETTINGS.policy, schedule="linear")
    assert cloning.improve(arc_model, rows, linear, SEED)[1] != losses


def test_a_round_without_any_solution_leaves_the_policy_alone(tmp_path, arc_model, arc_texts):
    """A model that never writes an edit: every edit is refused and scores 0, and the round says so."""
    with runtime.Run(tmp_path, SETTINGS) as run:
        learner, report = study.train_round(run, "round_1", arc_model, TRAIN, arc_texts)
    assert learner is arc_model
    assert (report["cloned"], report["without_edit"], report["reward"], report["distinct"]) == (0, 6, 0, 0)
    assert report["responses"] == 12


def test_tasks_without_known_answers_do_not_count():
    known = {"correct": True, "cells": 1.0, "refused": None, "diverged": False}
    rows = [[known, {**known, "correct": False, "cells": 0.5}], [{**known, "correct": None, "cells": None}], [known]]
    found = study.summary(rows)
    assert (found["accuracy"], found["cells"], found["tasks"], found["edits"]) == (0.75, 0.875, 2, 4)
    assert found["stderr"] == pytest.approx(0.25)
    assert found["by_task"]["accuracy"] == [0.5, None, 1.0]
    other = study.summary([[known]] * 3)
    assert study.compare(found, other)["difference"] == pytest.approx(-0.25)
    nothing = study.summary(rows[1:2])
    assert math.isnan(nothing["accuracy"])


def test_overlapping_sets_are_refused(tmp_path, arc_model, arc_texts):
    same = TRAIN[1]._replace(id="another")
    with runtime.Run(tmp_path, SETTINGS) as run, pytest.raises(ValueError, match="task task1 is in round 1 and in"):
        study.study(run, arc_model, [TRAIN], [*TEST, same], arc_texts)
    assert not (tmp_path / "stages").exists()


def test_the_same_tasks_may_serve_in_every_round(arc_model):
    study._check_disjoint([TRAIN, TRAIN], TEST)
    with pytest.raises(ValueError, match="not all different"):
        study._check_disjoint([], [task(1), task(1)])


def test_texts_of_other_seeds_are_other_texts(arc_model, arc_texts):
    other = Texts(arc_model.tokenizer, 512, SETTINGS, SEED + 1)
    one, two = arc_texts.sequences(task(0), ("basic",)), other.sequences(task(0), ("basic",))
    assert any(list(a) != list(b) for a, b in zip(one.tokens, two.tokens))
