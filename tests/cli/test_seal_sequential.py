"""`seal cpt` and `seal sequential` on a tiny model: what they print and leave."""

import dataclasses
import json

import jax
import pytest
from oracles.chat_server import says

from seal_jax import models
from seal_jax.cli import main
from seal_jax.data.worlds import biographies
from seal_jax.data.worlds.tokenizer import build

SHORT = ["--edits.kind", "plain", "--edits.max-new-tokens", "4"]
SHORT += ["--answering.template", "plain", "--answering.max-new-tokens", "2"]
SMALL = [*SHORT, "--inner.epochs", "1", "--inner.rank", "2"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = build()
    config = models.Config("llama", len(tokenizer), 32, 48, 2, 4, 2, 8, 256, eos_token_ids=(tokenizer.eos_token_id,))
    models.save_pretrained(folder, config, models.init(jax.random.key(0), config), tokenizer)
    return str(folder)


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps([dataclasses.asdict(p) for p in biographies.passages("dev", 4)]))
    return path


def test_sequences(model, data, tmp_path, capsys):
    out = tmp_path / "r"
    command = ["seal", "sequential", "--model", model, "--data", str(data), "--out", str(out), "--json", *SMALL]
    command += ["--sequences", "2", "--steps", "2", "--per-run", "1", "--weights", "stack", "--replay", "1"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((out / "result.json").read_text())
    assert (result["sequences"], result["steps"]) == (2, 2)
    assert result["matrix"][1][1] is None
    assert [row["age"] for row in result["gain_by_age"]] == [0, 1]
    assert {"base", "la", "op", "forgetting", "bwt", "seconds"} < result.keys()
    one_by_one = json.loads((out / "matrices.json").read_text())
    titles = {row["title"] for row in json.loads(data.read_text())}
    assert [len(row["titles"]) for row in one_by_one] == [2, 2]
    assert {title for row in one_by_one for title in row["titles"]} == titles
    mean = [sum(row["matrix"][0][i] for row in one_by_one) / 2 for i in range(2)]
    assert result["matrix"][0] == pytest.approx(mean)
    assert [row["matrix"][1][1] for row in one_by_one] == [None, None]
    assert (out / "matrix.png").stat().st_size > 5_000
    assert (out / "gain_by_age.png").stat().st_size > 5_000
    assert [p.name for p in sorted((out / "runs").iterdir())] == ["run0.json", "run1.json"]
    recorded = json.loads((out / "runs/run1.json").read_text())
    assert recorded["mean_over_sequences"][1][1] == 0.0
    assert main(["seal", "aggregate", "--results", str(out / "runs/run0.json"), "--json"]) == 0
    before = (out / "stages/sequences/steps.json").read_bytes()
    assert main([*command, "--inner.at-once", "1"]) == 0  # finished: how many go at once changes nothing
    assert (out / "stages/sequences/steps.json").read_bytes() == before


def test_continued_pretraining(model, data, tmp_path, capsys):
    rows = [{**row, "completions": ["One.\nTwo.", row["context"]]} for row in json.loads(data.read_text())]
    data.write_text(json.dumps(rows))
    out = tmp_path / "r"
    command = ["seal", "cpt", "--model", model, "--edits", str(data), "--out", str(out), *SHORT]
    command += ["--pretraining.rank", "2", "--pretraining.epochs", "1", "--pretraining.batch-size", "4"]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "gained" in shown.out
    assert "continued pretraining" in shown.err
    result = json.loads((out / "result.json").read_text())
    assert [result[name]["texts"] for name in ("passage_only", "edits")] == [8, 16]
    assert len(result["edits"]["gained_questions"]) == result["edits"]["gained"]
    assert {"base", "passage_only", "edits", "differences", "seconds"} == result.keys()
    assert (out / "accuracy.png").exists()
    for name in ("passage_only", "edits"):
        assert main(["seal", "aggregate", "--results", str(out / f"runs/{name}.json"), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert "notes" not in told
        assert told["overall"]["adapter_accuracy"] == round(result[name]["accuracy"], 4)
        assert told["questions"] == {
            "total": result[name]["questions"],
            **{key: result[name][key] for key in ("gained", "lost", "ungraded")},
        }
    assert not (out / "checkpoints").exists()  # each condition is finished
    assert main([*command[:-2], "--completions", "3", "--restart"]) == 2
    assert "has 2 completions, fewer than the 3 of --completions" in capsys.readouterr().err


def test_answers_without_a_verdict_are_told(model, data, tmp_path, capsys, serve):
    """Of one person's answers the grader has no opinion."""
    unknown = json.loads(data.read_text())[0]["title"]
    server = serve(lambda body: says("maybe" if unknown in body["messages"][-1]["content"] else "yes"))
    common = ["--model", model, "--data", str(data), "--answering.grader", "endpoint"]
    common += ["--answering.endpoint.url", server.url, "--answering.endpoint.model", "m"]
    told = "answers could not be graded and count neither as right nor as wrong"
    small = ["--sequences", "2", "--steps", "2", *SMALL, "--inner.method", "full"]
    assert main(["seal", "sequential", *common, "--out", str(tmp_path / "s"), *small]) == 0
    missing = json.loads((tmp_path / "s/result.json").read_text())["ungraded"]
    rows = json.loads((tmp_path / "s/stages/sequences/steps.json").read_text())["value"]
    rows = [[o["correct"] for step in steps for o in step["outcomes"]] for steps in rows]
    rows.append([o["correct"] for o in json.loads((tmp_path / "s/stages/sequences/base.json").read_text())["value"]])
    assert missing == sum(verdicts.count(None) for of in rows for verdicts in of) >= 6
    assert f"{missing} {told}" in capsys.readouterr().out
    small = ["--pretraining.rank", "2", "--pretraining.epochs", "1", "--edits.count", "1", *SHORT]
    assert main(["seal", "cpt", *common, "--out", str(tmp_path / "c"), *small]) == 0
    found = json.loads((tmp_path / "c/result.json").read_text())
    missing = sum(found[name]["ungraded"] for name in ("base", "passage_only", "edits"))
    assert f"{missing} {told}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cpt"], "give --data (the model writes the edits), --edits (they are given), or both"),
        (["cpt", "--data", "d", "--completions", "2"], "--completions chooses among those of --edits FILE"),
        (["cpt", "--data", "d", "--passages", "-1"], "--passages -1: use 0 or more"),
        (
            ["sequential", "--data", "d", "--weights", "stack", "--inner.method", "full"],
            "--weights stack is of adapters",
        ),
    ],
)
def test_arguments_are_checked_before_any_work(arguments, message, tmp_path, capsys):
    assert main(["seal", *arguments, "--model", "none", "--out", str(tmp_path / "r")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_too_few_passages(model, data, tmp_path, capsys):
    command = ["seal", "sequential", "--model", model, "--data", str(data), "--out", str(tmp_path / "r")]
    assert main([*command, "--sequences", "3", "--steps", "2"]) == 2
    assert "4 passages for 3 sequences of 2: 6 are needed" in capsys.readouterr().err


def test_full_fine_tuning_that_cannot_fit_is_refused(model, data, tmp_path, capsys, monkeypatch):
    """The refusal names the numbers and what to do."""
    monkeypatch.setattr("seal_jax.runtime.resources.device_memory", lambda: 1_500_000)
    common = ["--model", model, "--data", str(data), "--out", str(tmp_path / "r"), *SHORT]
    assert main(["seal", "cpt", *common, "--pretraining.method", "full"]) == 2
    assert "--pretraining.method lora" in capsys.readouterr().err
    # What was refused computed nothing, so other settings are welcome in its directory.
    assert main(["seal", "sequential", *common, "--inner.method", "full", "--sequences", "2", "--steps", "2"]) == 2
    assert "--inner.method lora" in capsys.readouterr().err
