"""`seal-jax seal sequences|select|aggregate|subset`: files in, files out, one line of JSON, one error."""

import json
import subprocess
import sys

import pytest
from oracles.recorded_files import cpt, generated, ranking, runs

from seal_jax.cli import main
from seal_jax.seal import recorded


@pytest.fixture
def seal(tmp_path, capsys):
    """A function that runs a sub-command on a value written to in.json and gives exit code, output, and error."""

    def run(command, value, *more):
        path = tmp_path / "in.json"
        path.write_text(json.dumps(value))
        flag = {"sequences": "--completions", "subset": "--data"}.get(command, "--results")
        code = main(["seal", command, flag, str(path), *map(str, more)])
        return code, *capsys.readouterr()

    return run


def test_sequences(seal, tmp_path):
    out = tmp_path / "new" / "s.jsonl"
    code, said, _ = seal("sequences", generated(), "--out", out, "--json", "--n", 2, "--completion", "all")
    told = json.loads(said)
    lines = out.read_bytes().decode().split("\n")
    assert (code, said.count("\n"), lines.pop()) == (0, 1, "")
    assert [json.loads(line) for line in lines] == recorded.sequences(tmp_path / "in.json", 2, None).texts
    assert told == {"out": str(out), "items": 2, "sequences": len(lines), "sha256": told["sha256"]}
    code, said, _ = seal("sequences", generated(), "--out", out, "--split-newlines", "--completion", 1)
    assert [json.loads(line) for line in out.read_text().splitlines()][:3] == ["T0\nc", "T0\nd", "T0\nC0"]
    assert said == f"9 sequences of 3 passages are in {out}\n"


def test_select(seal, tmp_path):
    out = tmp_path / "s.jsonl"
    out.write_text("old")
    code, said, _ = seal("select", ranking(), "--out", out, "--json")
    assert (code, json.loads(said)["rows"], said.count("\n")) == (0, 2, 1)
    assert out.read_text() == '{"prompt": "P0\\n", "completion": "one"}\n{"prompt": "P1\\n", "completion": "three"}\n'
    seal("select", ranking(), "--out", out, "--k-best", 2)
    assert len(out.read_text().splitlines()) == 4


@pytest.mark.parametrize("value", [ranking(), cpt(), runs()[0]])
def test_aggregate(seal, tmp_path, value):
    code, said, _ = seal("aggregate", value, "--json")
    want = recorded.aggregate([tmp_path / "in.json"])
    assert (code, said.count("\n")) == (0, 1)
    told = json.loads(said)
    assert told.pop("notes", []) == want.notes
    assert told == want.result
    code, said, _ = seal("aggregate", value)
    assert code == 0
    assert all(note in said for note in want.notes)


def test_the_table_says_what_it_is_of_and_has_a_dash_for_the_unknown(seal):
    assert seal("aggregate", ranking())[1].startswith("Computed from verdicts ")
    value = ranking()
    for article in value["articles"]:
        for completion in article["completions"]:
            completion["questions"], completion["stats"]["adapter_std"] = [], None
    code, said, _ = seal("aggregate", value)
    line = next(line for line in said.splitlines() if "mean_adapter_std_within_completions" in line)
    assert (code, line.split()[-2]) == (0, "-")
    assert said.startswith("Computed from stored statistics ")
    assert " nan " not in said


def test_aggregate_of_several_files_and_numbers_that_are_not_there(seal, tmp_path):
    one, two = runs()
    two["std_over_sequences"][0][0] = None
    (tmp_path / "b.json").write_text(json.dumps(two))
    code, said, _ = seal("aggregate", one, tmp_path / "b.json", "--json")
    told = json.loads(said)
    assert code == 0
    assert told["overall"]["n_sequences"] == 4
    assert told["standard_deviations"]["pooled"][0][0] is None


def test_the_table_has_the_standard_deviations(seal, tmp_path):
    one, two = runs()
    (tmp_path / "b.json").write_text(json.dumps(two))
    said = seal("aggregate", one, tmp_path / "b.json")[1]
    pooled = recorded.aggregate([tmp_path / "in.json", tmp_path / "b.json"]).result["standard_deviations"]["pooled"]
    rows = [line.replace("│", " ").split() for line in said.splitlines()]
    assert ["mean", "0", "0.3000", "0.4000"] in rows
    assert ["mean_of_run_stds", "2", "0.2000", "0.1000"] in rows
    assert ["pooled", "1", f"{pooled[1][0]:.4f}"] in rows
    assert [row[0] for row in rows if row and row[0] in ("mean", "mean_of_run_stds", "pooled")] == [
        name for name in ("mean", "mean_of_run_stds", "pooled") for _ in range(3)
    ]
    rows = [line.replace("│", " ").split() for line in seal("aggregate", one)[1].splitlines()]
    assert ["std_over_sequences", "2", "0.1000", "0.1000"] in rows
    one["std_over_sequences"][0][0] = None
    rows = [line.replace("│", " ").split() for line in seal("aggregate", one)[1].splitlines()]
    assert ["std_over_sequences", "0", "-", "0.2000"] in rows


def test_subset(seal, tmp_path):
    items = [{**item, "extra": "é"} for item in generated()]
    out = tmp_path / "s.json"
    code, said, _ = seal("subset", items, "--out", out, "--n", 2, "--json")
    want = recorded.subset(tmp_path / "in.json", 2).items
    assert (code, json.loads(said)) == (0, {"out": str(out), "items": 2, "questions": 2})
    assert json.loads(out.read_bytes()) == want
    assert "é" in out.read_text()
    seal("subset", items, "--out", tmp_path / "s.jsonl", "--n", 2)
    assert [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()] == want
    seal("subset", items, "--out", out, "--seed", 1, "--start", 1)
    assert json.loads(out.read_bytes()) == recorded.subset(tmp_path / "in.json", 0, 1, 1).items
    code, said, _ = seal("subset", items, "--n", 2, "--json")
    assert (code, json.loads(said)) == (0, {"items": 2, "questions": 2, "passages": want})
    code, said, _ = seal("subset", items, "--n", 2)
    assert code == 0
    assert [line.replace("│", " ").split() for line in said.splitlines() if want[1]["title"] in line] == [
        ["1", want[1]["title"], "1"]
    ]


@pytest.mark.parametrize(
    ("command", "value", "more", "error"),
    [
        ("sequences", generated(), ["--completion", 2], "in.json: item 0 has 2 completions; there is no completion 2"),
        ("sequences", generated(), ["--completion", -1], "--completion -1: use 0 or more"),
        ("sequences", [], [], "in.json: not a file that seal sequences knows: a list of 0; expected passages with"),
        ("select", ranking(), ["--k-best", 0], "--k-best 0: use 1 or more"),
        ("select", generated(), [], "in.json: this is passages with their completions; seal select takes the results"),
        ("subset", generated(), ["--start", 3], "start=3 is outside the 3 items"),
        ("subset", {"a": 1}, [], "not a file that seal subset knows: an object with the keys a; expected passages"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(seal, tmp_path, command, value, more, error):
    code, said, told = seal(command, value, "--out", tmp_path / "o.json", *more)
    assert (code, said, told.count("\n")) == (2, "", 1)
    assert told.startswith("seal-jax: error: ")
    assert error in told
    assert not (tmp_path / "o.json").exists()


@pytest.mark.parametrize(
    ("command", "value"), [("sequences", generated()), ("select", ranking()), ("subset", generated())]
)
def test_outputs_that_cannot_be(seal, tmp_path, command, value):
    assert "is the file that is read; name another" in seal(command, value, "--out", tmp_path / "in.json")[2]
    assert "is a directory; name the file to write" in seal(command, value, "--out", tmp_path)[2]


def test_missing_file(capsys, tmp_path):
    assert main(["seal", "aggregate", "--results", str(tmp_path / "x.json")]) == 2
    assert capsys.readouterr().err == f"seal-jax: error: {tmp_path / 'x.json'}: No such file or directory\n"


def test_no_program_of_jax_is_loaded(tmp_path):
    (tmp_path / "in.json").write_text(json.dumps(ranking()))
    code = (
        "import sys; from seal_jax.cli import main\n"
        f"assert main(['seal', 'aggregate', '--results', {str(tmp_path / 'in.json')!r}, '--json']) == 0\n"
        "heavy = {'jax', 'flax', 'transformers', 'orbax', 'datasets', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
