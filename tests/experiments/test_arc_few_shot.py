"""`experiments.arc_few_shot`: a directory of ARC tasks, which of its numbers stand for what, and its errors."""

import json

import pytest

from experiments import arc_few_shot
from seal_jax.data.worlds import grids
from seal_jax.seal.arc import demo, study


@pytest.fixture
def folder(tmp_path):
    """Four tasks, one file each, with their answers."""
    (tmp_path / "tasks").mkdir()
    for number, task in enumerate(grids.tasks("dev", 4)):
        pairs = {"train": task.demos, "test": task.tests}
        shown = {key: [{"input": e.input, "output": e.output} for e in examples] for key, examples in pairs.items()}
        (tmp_path / f"tasks/{number}.json").write_text(json.dumps(shown))
    return tmp_path / "tasks"


@pytest.fixture
def studies(monkeypatch):
    """In place of a study: what each was given, as (tasks of each round, tasks of the evaluation, settings)."""
    found = []

    def instead(run, model, rounds, test, texts, *_, **__):
        found.append(([len(tasks) for tasks in rounds], len(test), texts.settings))
        return {"icl": {"accuracy": 0.0, "stderr": 0.0}}

    monkeypatch.setattr(study, "study", instead)
    monkeypatch.setattr(demo, "study", instead)
    return found


def test_a_directory_of_tasks(folder, studies, tmp_path, capsys):
    args = arc_few_shot.Arguments(out=tmp_path / "out", data=folder, tasks=2, edits=2, max_sequences=16)
    arc_few_shot.main(args)
    arc_few_shot.main(args)  # the same run
    [(rounds, test, settings), again] = studies
    assert (rounds, test) == ([2], 2)
    assert (settings.edits.count, settings.edits.tested, settings.ttt.max_sequences) == (2, 2, 16)
    assert again == (rounds, test, settings)
    assert "icl" in capsys.readouterr().out


def test_numbers_that_are_not_given(studies, tmp_path):
    arc_few_shot.main(arc_few_shot.Arguments(out=tmp_path, tasks=3, test=5))
    assert studies == [([3] * demo.ROUNDS, 5, demo.SETTINGS)]
    assert arc_few_shot.numbers(arc_few_shot.Arguments()) == (demo.ROUNDS, demo.TEST)
    assert arc_few_shot.numbers(arc_few_shot.Arguments(data=tmp_path, tasks=3, rounds=0, test=0)) == (0, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tasks": 0}, "--tasks 0: use 1 or more"),
        ({"edits": 0}, "--edits 0: use 1 or more"),
        ({"max_sequences": 0}, "--max-sequences 0: use 1 or more"),
        ({"rounds": -1}, "--rounds -1: use 0 or more"),
        ({"test": 0}, "--test 0: use 1 or more"),
        ({"seed": -1}, "--seed -1: use 0 or more"),
    ],
)
def test_numbers_out_of_range(wrong, message, studies, tmp_path):
    with pytest.raises(ValueError, match=message):
        arc_few_shot.main(arc_few_shot.Arguments(out=tmp_path / "out", **wrong))
    assert not (tmp_path / "out").exists()
    assert studies == []
