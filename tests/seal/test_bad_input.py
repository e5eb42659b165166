"""What a person may hand to the commands by mistake: one line that says what is wrong, or a documented outcome."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from seal_jax import models
from seal_jax.cli import main
from seal_jax.runtime.files import read_json

WRITING = ["--edits.kind", "plain", "--edits.max-new-tokens", "5"]
TRYING = ["--answering.template", "plain", "--answering.max-new-tokens", "4"]
TRYING += ["--inner.epochs", "2", "--inner.rank", "2", "--inner.alpha", "8"]
SMALL = {"edits": WRITING, "evaluate": [*WRITING, *TRYING], "train": [*WRITING, *TRYING, "--seeds", "1"]}


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    models.save_pretrained(path, tiny.config, tiny.params, tiny.tokenizer)
    return path


@pytest.fixture(scope="module")
def items(passages):
    return [dataclasses.asdict(p) for p in passages(3)]


def seal(name, model, out, *arguments):
    return main(["seal", name, "--model", str(model), "--out", str(out), "--json", *arguments, *SMALL[name]])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"", "the file is empty; expected a JSON list of passages"),
        ("a.json", b" \n", "the file is empty"),
        ("a.json", b"[]", "none of the 0 passages has a question"),
        ("a.jsonl", b'{"title": "t"}\n{"title": "caf\xe9"}\n', "not UTF-8, byte 0xe9 at offset 29 on line 2"),
        ("a.json", b'[{"title": "t", "context": " ", "questions": []}]', "item 0: the context is empty"),
        (
            "a.json",
            b'[{"title": "t", "context": "c", "questions": [{"question": "q", "answer": " "}]}]',
            "item 0, question 0: the answer is empty; nothing could be graded against it",
        ),
    ],
)
def test_data(folder, tmp_path, capsys, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    for command in ("train", "evaluate", "edits"):
        assert seal(command, folder, tmp_path / "run", "--restart", "--data", str(path)) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"seal-jax: error: {path}: ")
        assert printed.err.count("\n") == 1
        assert said in printed.err


def test_a_checkpoint_with_nan(folder, items, tmp_path, capsys):
    broken = tmp_path / "model"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    tensors = load_file(broken / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][0, 0] = np.nan
    save_file(tensors, broken / "model.safetensors")
    (tmp_path / "a.json").write_text(json.dumps(items))
    assert seal("evaluate", broken, tmp_path / "run", "--data", str(tmp_path / "a.json")) == 2
    *sizes, error = capsys.readouterr().err.splitlines()
    assert name in error
    assert "NaN" in error
    assert [line.split(":")[0] for line in sizes] == ["model", "adapters", "mesh", "memory", "disk"]


def test_empty_completions(folder, items, tmp_path, capsys):
    """An edit of no text adapts to the passage alone, and the other passages lose nothing by it."""
    edits = ["", "pet: dog", " \n"]
    (tmp_path / "a.json").write_text(json.dumps([{**item, "completions": [e]} for item, e in zip(items, edits)]))
    assert seal("evaluate", folder, tmp_path / "run", "--edits", str(tmp_path / "a.json")) == 0
    stages = tmp_path / "run" / "stages"
    alone, edited = (read_json(stages / f"{name}.json")["value"] for name in ("passage_only", "edits"))
    for index in (0, 2):
        assert edited[index]["answers"] == alone[index]["answers"]
        assert edited[index]["loglik"] == pytest.approx(alone[index]["loglik"], abs=1e-4)
        assert edited[index]["steps"] == alone[index]["steps"] == 2
    assert edited[1]["steps"] == 4
    capsys.readouterr()


def test_a_passage_longer_than_the_context(folder, items, tmp_path, capsys):
    """No edit can be written of it, which is said before anything is; given an edit, its beginning is trained on."""
    long = {**items[1], "context": items[1]["context"] * 60}
    (tmp_path / "a.json").write_text(json.dumps([items[0], long]))
    assert seal("edits", folder, tmp_path / "edits", "--data", str(tmp_path / "a.json")) == 2
    said = capsys.readouterr().err
    assert f"passage {long['title']!r}: its edit prompt has" in said
    assert "context is 512" in said
    (tmp_path / "b.json").write_text(json.dumps([{**x, "completions": ["pet: dog"]} for x in (items[0], long)]))
    assert seal("evaluate", folder, tmp_path / "run", "--edits", str(tmp_path / "b.json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["edits"]["passages"], result["edits"]["diverged"]) == (2, 0)


def test_a_line_of_a_run_that_is_not_utf8(folder, items, tmp_path, capsys):
    """A damaged item is written again, the rest is kept, and what was damaged is set aside."""
    (tmp_path / "a.json").write_text(json.dumps(items))
    command = ("edits", folder, tmp_path / "run", "--data", str(tmp_path / "a.json"))
    assert seal(*command) == 0
    wanted = (tmp_path / "run" / "edits.json").read_bytes()
    stage = tmp_path / "run" / "stages" / "written"
    stage.with_suffix(".json").unlink()
    lines = stage.with_suffix(".jsonl").read_bytes().splitlines(keepends=True)
    stage.with_suffix(".jsonl").write_bytes(b"".join([lines[0], b'{"id": "\xff"}\n', *lines[2:]]))
    with pytest.warns(UserWarning, match=r"written\.jsonl line 2 is not a JSON object in UTF-8; moved aside"):
        assert seal(*command) == 0
    assert (tmp_path / "run" / "edits.json").read_bytes() == wanted
    assert stage.with_suffix(".jsonl.damaged").read_bytes() == b'{"id": "\xff"}\n'
    capsys.readouterr()
