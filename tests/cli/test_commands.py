"""generate and convert on a tiny model, against the functions they call."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, generation, models
from seal_jax.cli import main
from seal_jax.cli.export import check_export, claim_export
from seal_jax.cli.prompt_file import read_prompts
from seal_jax.data.squad import load_squad
from seal_jax.data.worlds import biographies
from seal_jax.data.worlds.tokenizer import build

PROMPTS = ["Ada was born in", "the of and", "Who?"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model with a tokenizer and a LoRA adapter that matters, as folders and as values."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = build()
    config = models.Config("llama", len(tokenizer), 32, 48, 2, 4, 2, 8, 256, eos_token_ids=(tokenizer.eos_token_id,))
    params = jax.tree.map(lambda x: 8 * x, models.init(jax.random.key(0), config))
    adapter = adapters.lora.init(jax.random.key(1), params, rank=2, alpha=4)
    keys = iter(jax.random.split(jax.random.key(2), len(adapter)))
    adapter = {path: {**e, "b": 0.5 * jax.random.normal(next(keys), e["b"].shape)} for path, e in adapter.items()}
    models.save_pretrained(folder / "model", config, params, tokenizer)
    models.save_peft(folder / "adapter", adapter, config)
    return folder, models.Model(config, params, tokenizer), adapter


def expected(model, params, **how):
    return generation.generate(params, model.config, PROMPTS, tokenizer=model.tokenizer, **how)


def test_generate_writes_what_the_function_gives(tiny, tmp_path, capsys):
    folder, model, adapter = tiny
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": p, "id": 1}) + "\n" for p in PROMPTS[1:]))
    command = ["generate", "--model", str(folder / "model"), "--adapter", str(folder / "adapter")]
    command += ["--prompt", PROMPTS[0], "--prompts", str(tmp_path / "p.jsonl"), "--max-new-tokens", "8"]
    command += ["--temperature", "1", "--seed", "5", "--out", str(tmp_path / "o.jsonl"), "--json"]
    assert main(command) == 0
    out = capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    attached = adapters.attach(model.params, adapter)
    want = expected(model, attached, key=jax.random.key(5), max_new_tokens=8, temperature=1.0)
    assert [row["prompt"] for row in rows] == PROMPTS
    assert [row["tokens"] for row in rows] == want.tokens
    assert [row["text"] for row in rows] == want.texts
    for row, logprobs in zip(rows, want.logprobs):
        np.testing.assert_allclose(row["logprobs"], logprobs, atol=1e-5)
    assert json.loads(out)["texts"] == want.texts
    assert out.count("\n") == 1
    # One prompt at a time draws the same.
    assert main([*command, "--batch-size", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == want.texts


def test_generate_prints_a_table_and_stops(tiny, capsys):
    folder, model, _ = tiny
    greedy = expected(model, model.params, key=None, max_new_tokens=8)
    stop = greedy.texts[0][3:5]
    command = ["generate", "--model", str(folder / "model"), "--prompt", PROMPTS[0], "--max-new-tokens", "8", "--json"]
    assert main([*command, "--stop", stop, "--stop", r"never\n\tthis"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == [greedy.texts[0][: greedy.texts[0].index(stop)]]
    assert main(command[:-1]) == 0
    assert PROMPTS[0] in capsys.readouterr().out


def test_prompt_files(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes("\ufeffone\r\n\n  two é\n".encode())
    assert [asked.prompt for asked in read_prompts(path)] == ["one", "  two é"]
    bad = [
        ("p.txt", b"ok\nna\xefve\n", r"p\.txt line 2 is not UTF-8: byte 0xef at column 3$"),
        ("p.txt", "é".encode() + b"\xef", r"p\.txt line 1 is not UTF-8: byte 0xef at column 2$"),
        ("p.txt", "\ufeffab".encode() + b"\xff", r"p\.txt line 1 is not UTF-8: byte 0xff at column 3$"),
        ("p.txt", b"", r"p\.txt has no prompts in it"),
        ("p.jsonl", b'{"prompt": "a"}\n{"text": "b"}\n', r'p\.jsonl line 2: expected {"prompt": "text"} or'),
        ("p.jsonl", b'{"prompt": "a', r"p\.jsonl line 1 is not JSON"),
    ]
    for name, content, message in bad:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_prompts(tmp_path / name)


def test_generate_refuses(tiny, tmp_path, capsys):
    folder, _, _ = tiny
    model = ["generate", "--model", str(folder / "model")]
    for arguments, message in (
        (model, "there is nothing to continue"),
        ([*model, "--prompt", "a", "--batch-size", "0"], "--batch-size 0"),
        ([*model, "--prompts", str(tmp_path / "none.txt")], "none.txt: No such file"),
        ([*model, "--prompt", "a", "--max-new-tokens", "1000"], "1000"),
        (["generate", "--model", str(tmp_path), "--prompt", "a"], str(tmp_path)),
        ([*model, "--prompt", "a", "--adapter", str(tmp_path)], str(tmp_path)),
    ):
        assert main(arguments) == 2
        err = capsys.readouterr().err.splitlines()[-1]
        assert err.startswith("seal-jax: error: ")
        assert message in err


def test_convert_merges(tiny, tmp_path, capsys):
    folder, model, adapter = tiny
    command = ["convert", str(folder / "model"), str(tmp_path / "m"), "--adapter", str(folder / "adapter"), "--merge"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["merged"] is True
    merged = models.from_pretrained(tmp_path / "m")
    want = adapters.materialize(adapters.attach(model.params, adapter))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), merged.params, want)
    assert merged.tokenizer.encode("Ada") == model.tokenizer.encode("Ada")
    assert main(command) == 2  # DST is not empty any more
    assert "is not an empty directory" in capsys.readouterr().err


def test_convert_changes_the_dtype(tiny, tmp_path, capsys):
    folder, model, adapter = tiny
    assert main(["convert", str(folder / "model"), str(tmp_path / "h"), "--dtype", "bfloat16"]) == 0
    assert "in bfloat16 written to" in capsys.readouterr().out
    found = models.from_pretrained(tmp_path / "h", dtype="bfloat16").params
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(jnp.bfloat16)), found, model.params)
    command = ["convert", str(folder / "model"), str(tmp_path / "p"), "--adapter", str(folder / "adapter")]
    assert main([*command, "--to", "peft", "--dtype", "bfloat16"]) == 0
    again = models.load_peft(tmp_path / "p", model.params, model.config)
    for path, entry in adapter.items():
        np.testing.assert_array_equal(again[path]["a"], entry["a"].astype(jnp.bfloat16).astype(jnp.float32))
        np.testing.assert_array_equal(again[path]["scale"], entry["scale"])


def test_convert_refuses(tiny, tmp_path, capsys):
    folder, _, _ = tiny
    command = ["convert", str(folder / "model"), str(tmp_path / "x")]
    for more, message in (
        (["--to", "peft"], "--to peft writes adapters"),
        (["--merge"], "give --adapter DIR and --merge together"),
        (["--adapter", "a"], "give --adapter DIR and --merge together"),
    ):
        assert main([*command, *more]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_seal_edits_are_in_the_recorded_format(tiny, tmp_path, capsys):
    folder, _, _ = tiny
    passages = biographies.passages("dev", 3)
    (tmp_path / "d.json").write_text(json.dumps([dataclasses.asdict(p) for p in passages]))
    command = ["seal", "edits", "--model", str(folder / "model"), "--data", str(tmp_path / "d.json"), "--passages", "2"]
    command += ["--edits.kind", "plain", "--edits.count", "2", "--edits.max-new-tokens", "4", "--json"]
    assert main([*command, "--out", str(tmp_path / "r")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["passages"], result["edits"]) == (2, 4)
    path = tmp_path / "r" / "edits.json"
    rows = json.loads(path.read_text())
    assert all(row.keys() == {"title", "context", "questions", "prompt", "completions"} for row in rows)
    assert all(row["context"] in row["prompt"] and len(row["completions"]) == 2 for row in rows)
    assert set(load_squad(path)) < set(passages)
    # Half of it is lost, as in a kill; what is left is not written again, and the rest comes out the same.
    (tmp_path / "r" / "stages" / "written.json").unlink()
    kept = (tmp_path / "r" / "stages" / "written.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "r" / "stages" / "written.jsonl").write_bytes(b"".join(kept[:2]) + kept[2][:9])
    assert main([*command, "--out", str(tmp_path / "r")]) == 0
    assert json.loads(path.read_text()) == rows


@pytest.fixture
def data(tmp_path):
    """A file of two passages."""
    path = tmp_path / "d.json"
    path.write_text(json.dumps([dataclasses.asdict(p) for p in biographies.passages("dev", 2)]))
    return path


SMALL = ["--edits.kind", "plain", "--edits.count", "2", "--edits.max-new-tokens", "4"]


def test_seal_edits_needs_no_questions_and_tells_a_changed_file(tiny, tmp_path, capsys):
    folder, _, _ = tiny
    path = tmp_path / "d.json"
    path.write_text(json.dumps([{"title": "Ada", "context": "Ada was born."}]))
    command = ["seal", "edits", "--model", str(folder / "model"), "--data", str(path), "--out", str(tmp_path / "r")]
    assert main([*command, *SMALL]) == 0
    (row,) = json.loads((tmp_path / "r" / "edits.json").read_text())
    assert (row["questions"], len(row["completions"])) == ([], 2)
    assert main([*command, *SMALL, "--edits.rows", "1"]) == 0
    path.write_text(json.dumps([{"title": "Ada", "context": "Ada was born in Rome."}]))
    capsys.readouterr()
    assert main([*command, *SMALL]) == 2
    assert "with other settings: data file changed. Pass --restart" in capsys.readouterr().err


def test_seal_evaluate_compares_given_edits(tiny, tmp_path, data, capsys):
    folder, _, _ = tiny
    rows = [{**row, "completions": ["One.", row["context"]]} for row in json.loads(data.read_text())]
    data.write_text(json.dumps(rows))
    command = ["seal", "evaluate", "--model", str(folder / "model"), "--edits", str(data), "--out", str(tmp_path / "r")]
    command += ["--completion", "1", "--inner.epochs", "1", "--inner.rank", "2", "--answering.max-new-tokens", "2"]
    assert main([*command, "--answering.template", "plain", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"base", "passage_only", "edits", "other_passage"} < result.keys()
    for other in ("base", "passage_only", "other_passage"):
        found = result["differences"][f"edits - {other}"]["loglik"]
        assert found["difference"] == pytest.approx(result["edits"]["loglik"] - result[other]["loglik"], abs=1e-6)
    assert not list((tmp_path / "r").rglob("*-edits.json"))  # nothing was written by the model


def test_seal_evaluate_refuses_a_way_of_asking_before_it_writes_edits(tiny, tmp_path, data, capsys):
    folder, _, _ = tiny
    (tmp_path / "bad.txt").write_text("{title} alone")
    command = ["seal", "evaluate", "--model", str(folder / "model"), "--data", str(data), "--out", str(tmp_path / "r")]
    assert main([*command, "--answering.template", str(tmp_path / "bad.txt")]) == 2
    assert "bad.txt" in (err := capsys.readouterr().err)
    assert "question" in err
    assert not list((tmp_path / "r").rglob("*edits*"))


def test_seal_checks_its_arguments_before_any_work(tmp_path, data, capsys):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("")
    train = ["train", "--data", str(data)]
    for arguments, message in (
        ([*train, "--passages", "0"], "--passages 0: use 1 or more"),
        ([*train, "--rounds", "0"], "--rounds 0: use 1 or more"),
        ([*train, "--test", "-1"], "--test -1: use 0 or more"),
        ([*train, "--edits", "0"], "--edits 0: use 1 or more"),
        ([*train, "--seed", "-1"], "--seed -1: use 0 or more"),
        ([*train, "--export", str(taken)], "taken exists and is not an empty directory; choose another --export"),
        (["edits", "--data", str(data), "--passages", "-1"], "--passages -1: use 0 or more"),
        (["evaluate", "--data", str(data), "--completion", "1"], "--completion chooses among the completions of"),
    ):
        assert main(["seal", arguments[0], "--model", "none", "--out", str(tmp_path / "r"), *arguments[1:]]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()
    with pytest.raises(SystemExit) as stopped:
        main(["seal", *train, "--model", "none", "--out", str(tmp_path / "r"), "--reward", "bleu"])
    assert stopped.value.code == 2
    assert "binary" in capsys.readouterr().err


def test_a_run_goes_on_after_its_own_export(tmp_path):
    taken = tmp_path / "model"
    claim_export(tmp_path, taken)
    taken.mkdir()
    (taken / "config.json").write_text("{}")
    check_export(tmp_path, taken)
    with pytest.raises(ValueError, match="not an empty directory"):
        check_export(tmp_path / "another run", taken)


def test_a_model_without_a_tokenizer_is_refused(tiny, tmp_path, data, capsys):
    _, model, _ = tiny
    models.save_pretrained(tmp_path / "bare", model.config, model.params, None)
    for name in ("edits", "train", "evaluate"):
        command = ["seal", name, "--model", str(tmp_path / "bare"), "--data", str(data), "--out", str(tmp_path / "r")]
        command += ["--passages", "1", "--rounds", "1"] if name == "train" else []
        assert main(command) == 2  # what failed before it computed anything is in no one's way
        assert "bare has no tokenizer, so it cannot be given text" in capsys.readouterr().err


def test_seal_refuses(tiny, tmp_path, capsys):
    folder, _, _ = tiny
    (tmp_path / "d.json").write_text(json.dumps([dataclasses.asdict(p) for p in biographies.passages("dev", 2)]))
    bare = json.dumps([{"title": "t", "context": "c", "questions": [{"question": "q", "answer": "a"}]}])
    (tmp_path / "bare.json").write_text(bare)
    (tmp_path / "one.json").write_text(json.dumps([{**json.loads(bare)[0], "completions": ["an edit"]}]))
    (tmp_path / "list.json").write_text('["an edit"]')
    answered = {"question": "q", "answers": [{"text": "a"}]}
    nested = {"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [answered]}]}]}
    (tmp_path / "nested.json").write_text(json.dumps(nested))
    common = ["--model", str(folder / "model"), "--out", str(tmp_path / "r"), "--restart"]
    for arguments, message in (
        (["evaluate"], "give --data"),
        (["evaluate", "--edits", str(tmp_path / "bare.json")], "passage 't' has no completions; expected a list"),
        (["evaluate", "--edits", str(tmp_path / "nested.json")], "passage 't' has no completions; expected a list"),
        (["evaluate", "--edits", str(tmp_path / "list.json")], "list.json: item 0: expected an object with the key"),
        (["evaluate", "--edits", str(tmp_path / "one.json"), "--completion", "1"], "so --completion 1 is none of them"),
        (
            ["train", "--data", str(tmp_path / "d.json"), "--passages", "2"],
            "has 2 passages with questions; 6 are",
        ),
        (["edits", "--data", str(tmp_path / "none.json")], "none.json: No such file"),
    ):
        assert main(["seal", arguments[0], *common, *arguments[1:]]) == 2
        assert message in capsys.readouterr().err
