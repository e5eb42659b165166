"""Rounds of a study, one after another: their seeds, what an unchanged policy is spared, and two ways to go wrong."""

import dataclasses

import micro_arc
import pytest
from micro_arc import SEED, SETTINGS, TEST, TRAIN, edit, task

from seal_jax import runtime
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.runtime.files import JsonLines, read_json
from seal_jax.seal.arc import policy, study

FRESH = [task(n) for n in range(4, 6)]
KEPT = dataclasses.replace(SETTINGS, policy=dataclasses.replace(SETTINGS.policy, checkpoint_every=2))


@pytest.fixture
def writers(monkeypatch):
    """Nothing is run and nothing is solved; what was asked to write edits: (first task, number of edits, seed)."""
    asked = []
    outcome = {"correct": False, "cells": 0.5, "refused": None, "diverged": False}

    def write(model, tasks, texts, count, seed, *_):
        asked.append((tasks[0].id, count, seed))
        return [[policy.Written(edit().to_json(), edit(), [])] * count for _ in tasks]

    monkeypatch.setattr(policy, "write_edits", write)
    monkeypatch.setattr(study, "run_trials", lambda model, trials, *_: [outcome for _ in trials])
    monkeypatch.setattr(study, "ask", lambda model, tasks, *_: [outcome for _ in tasks])
    return asked


def test_tasks_that_come_again_get_other_draws(writers, tmp_path, arc_model, arc_texts):
    """Rounds on fresh tasks have the seed of the first; a policy that stays as it is, is evaluated once."""
    mixed = [FRESH[1], task(6)]
    with runtime.Run(tmp_path, SETTINGS) as run:
        found = study.study(run, arc_model, [TRAIN, FRESH, TRAIN, mixed, TRAIN], TEST, arc_texts)
    again = study.AGAIN
    assert writers == [
        ("task10", 1, study.EVALUATION_SEED + SEED),
        ("task0", 3, SEED),
        ("task4", 3, SEED),
        ("task0", 3, SEED + again),
        ("task5", 3, SEED + again),
        ("task0", 3, SEED + 2 * again),
    ]
    assert [report["cloned"] for report in found["rounds"]] == [0] * 5
    assert all(found[f"round_{n}"] == found["round_0"] for n in range(1, 6))
    assert found["round_1_first_model"] == found["round_0"]
    assert found["differences"]["round_5 - round_0"]["accuracy"]["difference"] == 0
    assert not (tmp_path / "stages/evaluation/round_1.json").exists()


def test_stopped_while_the_policy_is_trained(tmp_path, monkeypatch):
    """Killed after a checkpoint inside the cloning, and the numbers are those of a run that was not."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    wanted = read_json(micro_arc.run(whole, KEPT))
    save, saved = Checkpointer.save, []

    def dies(self, step, tree):
        save(self, step, tree)
        saved.append((self.folder.name, step))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            micro_arc.run(stopped, KEPT)
    assert saved == [("round_1", 2)]
    assert (stopped / "checkpoints/round_1").exists()
    found = read_json(micro_arc.run(stopped, KEPT))
    assert {**found, "seconds": 0} == {**wanted, "seconds": 0}
    rows = [JsonLines(folder / "metrics.jsonl").rows for folder in (whole, stopped)]
    assert rows[0] == rows[1] != []
    assert not (stopped / "checkpoints").exists()


def test_a_study_whose_fine_tunes_diverge_comes_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(micro_arc, "RESPONSES", (edit(rate=3e38, epochs=1).to_json(),))
    wild = dataclasses.replace(SETTINGS, ttt=dataclasses.replace(SETTINGS.ttt, max_learning_rate=3.4e38))
    monkeypatch.setattr(micro_arc, "edit", lambda **_: edit(rate=3e38, epochs=1))
    found = read_json(micro_arc.run(tmp_path, wild))
    for name in ("round_0", "round_1", "oracle"):
        assert (found[name]["diverged"], found[name]["accuracy"], found[name]["cells"]) == (3, 0.0, 0.0)
    assert [(report["diverged"], report["cloned"]) for report in found["rounds"]] == [(6, 0)]
