"""What a command says before it loads a model, and what it refuses there."""

import pytest

from seal_jax.cli import main
from seal_jax.data.worlds import biographies
from seal_jax.runtime import resources
from seal_jax.runtime.files import dumps
from seal_jax.seal.demo import CHECKPOINT

GIB = 2**30


@pytest.fixture
def evaluate(tmp_path):
    """A function that runs `seal evaluate`, or another command, on two people, as far as it gets."""
    people = biographies.passages("dev", 2, 0)
    data = tmp_path / "people.json"
    rows = [
        {
            "title": p.title,
            "context": p.context,
            "questions": [{"question": q.question, "answer": q.answer} for q in p.questions],
        }
        for p in people
    ]
    data.write_text(dumps(rows))
    settings = ["--edits.kind", "plain", "--edits.max-new-tokens", "16"]
    trying = ["--answering.template", "plain", "--inner.epochs", "1"]
    start = ["--model", str(CHECKPOINT), "--data", str(data), "--out", str(tmp_path / "run")]

    def run(*more, command="evaluate"):
        return main(["seal", command, *start, *settings, *(trying if command == "evaluate" else []), *more])

    return run


def test_sizes_are_said_before_the_work(evaluate, capsys):
    assert evaluate("--mesh", "data=2,fsdp=2,model=2") == 0
    said = capsys.readouterr().err.splitlines()
    assert "model: llama, 1,012,096 parameters, 1.0 MB of float32 on each device" in said
    assert "mesh: data=2, fsdp=2, model=2 on 8 x cpu" in said
    [memory] = [line for line in said if line.startswith("memory: about ")]
    assert " on each device at the most (" in memory
    assert any(line.startswith("adapters: 65,544 numbers an edit") for line in said)
    assert any(line.startswith("disk: about 0.0 MB, of ") for line in said)


def test_only_the_stages_that_happen_are_counted(evaluate, capsys, tmp_path):
    """Writing edits needs no room for an inner loop."""
    assert evaluate(command="edits") == 0
    said = capsys.readouterr().err
    assert "at the most (writing edits)" in said
    assert "adapters:" not in said


def test_a_run_that_cannot_fit_is_refused_with_the_number(evaluate, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "device_memory", lambda: 1_000_000)
    assert evaluate() == 2
    said = capsys.readouterr().err
    assert "needs 4.0 MB on each device before any activation, and a device has 1.0 MB: " in said
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_stage_that_may_not_fit_is_warned_of(evaluate, capsys, monkeypatch):
    monkeypatch.setattr(resources, "device_memory", lambda: 8_000_000)
    assert evaluate() == 0
    assert "warning: the inner loop may need " in capsys.readouterr().err
