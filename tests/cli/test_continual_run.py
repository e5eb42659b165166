"""`continual run` on two small tasks with the embedded world's model."""

import json

import pytest

from seal_jax import models
from seal_jax.cli import main
from seal_jax.continual import metrics
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.seal.demo import CHECKPOINT

WORDS = {"colours": ("red", "blue"), "sizes": ("big", "small")}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two tasks whose label is said in the text."""
    folder = tmp_path_factory.mktemp("stream")
    for name, labels in WORDS.items():
        path = folder / "TC" / name
        path.mkdir(parents=True)
        (path / "labels.json").write_text(json.dumps(labels))
        for split, count in (("train", 16), ("dev", 4), ("test", 6)):
            rows = [{"sentence": f"{split} {i} {labels[i % 2]}", "label": labels[i % 2]} for i in range(count)]
            (path / f"{split}.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture
def command(data, tmp_path):
    start = ["continual", "run", "--model", str(CHECKPOINT), "--data", str(data), "--order", *WORDS]
    sizes = ["--epochs", "2", "--batch-size", "4", "--rank", "2", "--max-prompt", "60", "--out", str(tmp_path / "run")]
    return lambda *more: main([*start, *sizes, *more, "--json"])


def test_a_stream_end_to_end(command, tmp_path, capsys):
    assert command("--strategy", "replay", "--memory", "0.5", "--learning-rate", "0.01") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"] == list(WORDS)
    assert len(found["matrix"]) == len(found["baseline"]) == 2
    assert found["steps"] == 16
    assert found["losses"]["colours"]["last"] < found["losses"]["colours"]["first"]
    assert {name: value for name, (value, _, _) in found["intervals"].items()} == pytest.approx(found["metrics"])
    low, high = found["intervals"]["op"][1:]
    assert low <= found["metrics"]["op"] <= high
    assert metrics.from_run(tmp_path / "run")["op"] == pytest.approx(found["metrics"]["op"])
    model = models.from_pretrained(CHECKPOINT)
    assert models.load_peft(tmp_path / "run" / "adapter", model.params, model.config)
    assert (tmp_path / "run" / "matrix.png").exists()

    assert command("--strategy", "replay", "--memory", "0.5", "--learning-rate", "0.01") == 0
    again = json.loads(capsys.readouterr().out)
    assert {**again, "seconds": 0} == {**found, "seconds": 0}
    assert command("--strategy", "naive") == 2
    assert "other settings" in capsys.readouterr().err


class Killed(BaseException):
    """Stands for a signal."""


@pytest.mark.parametrize("strategy", ["si", "joint"])
def test_killed_in_the_middle_of_a_task_and_run_again(command, tmp_path, capsys, monkeypatch, strategy):
    arguments = ["--strategy", strategy, "--checkpoint-steps", "3", "--test", "2"]
    arguments += ["--memory", "0.5"] if strategy == "si" else []
    assert command(*arguments) == 0
    whole = json.loads(capsys.readouterr().out)
    save, at = Checkpointer.save, []

    def killed(keep, step, tree):
        save(keep, step, tree)
        at.append((step, int(tree.task)))
        if step >= 11:
            raise Killed

    monkeypatch.setattr(Checkpointer, "save", killed)
    with pytest.raises(Killed):
        command(*arguments, "--out", str(tmp_path / "killed"))
    monkeypatch.setattr(Checkpointer, "save", save)
    assert at == ([(3, 0), (6, 0), (8, 1), (11, 1)] if strategy == "si" else [(3, 0), (6, 0), (9, 0), (12, 0)])
    capsys.readouterr()
    assert command(*arguments, "--out", str(tmp_path / "killed")) == 0
    again = json.loads(capsys.readouterr().out)
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}


def test_all_tasks_at_once_by_answering(command, capsys):
    assert command("--strategy", "joint", "--scoring", "generate", "--max-answer", "8", "--test", "2") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["joint"]) == 2
    assert "matrix" not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--order", "shapes"], "the data set 'shapes' is not there; found colours, sizes"),
        (["--strategy", "naive", "--strength", "3"], "--strength 3.0: naive has none"),
        (["--batch-size", "4", "--accumulate", "3"], "--accumulate 3 does not divide --batch-size 4"),
        (["--epochs", "0"], "--epochs 0: use 1 or more"),
        (["--strategy", "naive", "--memory-rows", "8"], "--memory-rows 8: naive has no memory"),
    ],
)
def test_bad_arguments(command, capsys, arguments, message):
    assert command(*arguments) == 2
    assert message in capsys.readouterr().err
