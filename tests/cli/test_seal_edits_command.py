"""`seal edits` by a served model and what it leaves; `seal evaluate` with edits written by anyone."""

import dataclasses
import datetime
import json

import jax
import pytest
from oracles.chat_server import KEY, drop, raw, says, status

from seal_jax import models
from seal_jax.cli import main
from seal_jax.cli.passages import chosen_passages, edited_passages, given_edit
from seal_jax.data.squad import load_squad
from seal_jax.data.worlds import biographies
from seal_jax.data.worlds.tokenizer import build
from seal_jax.seal.edits import edit_prompt, edit_turns

PEOPLE = biographies.passages("dev", 3)


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps([{"title": p.title, "context": p.context} for p in PEOPLE]))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny checkpoint."""
    path, tokenizer = tmp_path_factory.mktemp("tiny"), build()
    config = models.Config("llama", len(tokenizer), 32, 48, 2, 4, 2, 8, 512, eos_token_ids=(tokenizer.eos_token_id,))
    models.save_pretrained(path, config, models.init(jax.random.key(0), config), tokenizer)
    return path


def edits(server, data, out, *more):
    command = ["seal", "edits", "--endpoint", server.url, "--endpoint-model", "writer-1", "--data", str(data)]
    return main([*command, "--out", str(out), "--edits.count", "2", *more])


def text_of(tmp_path):
    return "".join(p.read_text(errors="replace") for p in tmp_path.rglob("*") if p.is_file())


def test_edits_of_a_served_model(serve, data, tmp_path, capsys):
    """The recorded format; the second draw of the first passage is blank, which is an edit as well."""
    server = serve(lambda body: says(f"\n- {len(server.requests)}\n"))
    server._act = lambda body: says(" " if len(server.requests) == 2 else f"\n- {len(server.requests)}\n")
    assert edits(server, data, tmp_path / "r", "--edits.kind", "rewrite", "--endpoint-concurrency", "1", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["passages"], result["edits"], result["empty"]) == (3, 6, 1)
    assert result["seconds"].keys() == {"written"}
    rows = json.loads((tmp_path / "r/edits.json").read_text())
    assert [list(row) for row in rows] == [["title", "context", "questions", "completions", "prompt"]] * 3
    assert sorted(text for row in rows for text in row["completions"]) == ["", "- 1", "- 3", "- 4", "- 5", "- 6"]
    assert [row["prompt"] for row in rows] == [edit_prompt(p, "rewrite") for p in PEOPLE]
    sent = sorted(r["messages"][0]["content"] for r in server.requests)
    assert sent == sorted(row["prompt"] for row in rows for _ in range(2))
    first = server.requests[0]
    assert (first["model"], first["temperature"], first["top_p"], first["max_tokens"]) == ("writer-1", 1.0, 0.95, 8192)
    assert len(load_squad(tmp_path / "r/edits.json", need_questions=False)) == 3
    assert KEY not in text_of(tmp_path)


def test_more_passages_than_there_are(serve, data, tmp_path, capsys):
    server = serve(lambda body: says("x"))
    assert edits(server, data, tmp_path / "r", "--passages", "4") == 2
    assert "d.json has 3 passages; 4 are asked for" in capsys.readouterr().err
    assert edits(server, data, tmp_path / "r", "--edits.kind", "nonsense") == 2
    assert not server.requests
    assert edits(server, data, tmp_path / "r", "--passages", "3") == 0  # what was refused is in no one's way


def test_meta(serve, data, tmp_path):
    server = serve(lambda body: says("x"))
    how = ["--edits.kind", "self-qa", "--edits.temperature", "0.7", "--edits.top-p", "0.9", "--passages", "2"]
    assert edits(server, data, tmp_path / "r", *how, "--edits.max-new-tokens", "50") == 0
    meta = json.loads((tmp_path / "r/edits.json.meta").read_text())
    released = ["model", "dataset_in", "dataset_out", "temperature", "top_p", "max_tokens", "n", "k", "timestamp"]
    assert list(meta)[:9] == released
    want = ["writer-1", str(data), str(tmp_path / "r/edits.json"), 0.7, 0.9, 50, 2, 2]
    assert [meta[key] for key in released[:-1]] == want
    assert meta["prompt_key"] == "self-qa"
    assert datetime.datetime.fromisoformat(meta["timestamp"]).utcoffset() == datetime.timedelta(0)
    before = (tmp_path / "r/edits.json.meta").read_bytes()
    assert edits(server, data, tmp_path / "r", *how, "--edits.max-new-tokens", "50") == 0
    assert (tmp_path / "r/edits.json.meta").read_bytes() == before


def test_chat_form_and_stop(serve, data, tmp_path):
    server = serve(lambda body: says("x"))
    assert edits(server, data, tmp_path / "r", "--edits.chat", "--edits.stop", "END", "--passages", "1") == 0
    [row] = json.loads((tmp_path / "r/edits.json").read_text())
    [asked] = [p for p in PEOPLE if p.title == row["title"]]
    turns = edit_turns(asked)
    assert server.requests[0]["messages"] == turns.messages()
    assert server.requests[0]["stop"] == ["END"]
    assert row["prompt"] == f"{turns.system}\n\n{turns.user}"


@pytest.mark.parametrize("failure", [status(500), raw(b"oops"), drop])
def test_what_did_not_come_is_asked_for_again(serve, data, tmp_path, capsys, failure):
    lost = PEOPLE[1].title
    server = serve(lambda body: failure if f"\n{lost}\n" in body["messages"][0]["content"] else says("fine"))
    assert edits(server, data, tmp_path / "r", "--endpoint-retries", "0") == 2
    assert f"2 of 6 edits did not come from {server.url}; what came is kept" in capsys.readouterr().err
    assert not (tmp_path / "r/edits.json").exists()
    server._act = lambda body: says("at last")
    before = len(server.requests)
    # Other numbers of retries and requests at once change nothing of what is written.
    assert edits(server, data, tmp_path / "r", "--endpoint-concurrency", "2") == 0
    assert len(server.requests) == before + 2
    rows = json.loads((tmp_path / "r/edits.json").read_text())
    assert [row["completions"] for row in rows] == [["fine"] * 2, ["at last"] * 2, ["fine"] * 2]


def test_one_passage_that_a_filter_refuses(serve, data, tmp_path, capsys):
    """Be it the first, and on every attempt: the others' edits are kept, and what is missing is named by number."""
    server = serve(lambda b: status(400) if f"\n{PEOPLE[0].title}\n" in b["messages"][0]["content"] else says("fine"))
    for _ in range(2):
        assert edits(server, data, tmp_path / "r") == 2
        assert f"2 of 6 edits did not come from {server.url}; what came is kept" in capsys.readouterr().err
    assert len(server.requests) == 8


def test_a_server_that_refuses(serve, data, tmp_path, capsys):
    server = serve(lambda body: status(401, {"error": {"message": f"Incorrect API key {KEY}"}}))
    assert edits(server, data, tmp_path / "r") == 2
    err = capsys.readouterr().err
    assert "refuses requests for model 'writer-1': status 401 Unauthorized: Incorrect API key ***" in err
    assert len(server.requests) == 1
    assert KEY not in err + text_of(tmp_path)


def test_arguments(data, tmp_path, capsys):
    common = ["seal", "edits", "--data", str(data), "--out", str(tmp_path / "r")]
    for more, message in (
        ([], "give --model, the checkpoint that writes, or --endpoint URL and --endpoint-model NAME"),
        (["--endpoint-model", "m"], "give --model, the checkpoint that writes, or"),
        (["--endpoint", "http://x/v1"], "--endpoint needs --endpoint-model"),
        (["--endpoint", "x:1", "--endpoint-model", "m"], "endpoint url 'x:1': use a base URL"),
        (["--endpoint", "http://x", "--model", "m", "--endpoint-retries", "-1"], "endpoint retries -1: use 0"),
    ):
        assert main([*common, *more]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def write(path, rows):
    path.write_text(json.dumps(rows))
    return path


def test_edits_by_anyone(tmp_path):
    """Found by title and text, in any order, with other keys, without questions or a prompt; blank ones are edits."""
    rows = [
        {"title": p.title, "context": p.context, "completions": [text, "other"], "notes": {"by": "hand"}}
        for p, text in zip(PEOPLE[1:], ["", "Facts."])
    ]
    given = write(tmp_path / "e.json", [*reversed(rows), {"title": ["odd"], "context": 3}, "odd"])
    data = write(tmp_path / "d.json", [dataclasses.asdict(p) for p in PEOPLE])
    found = edited_passages(data, given, 0, 0)
    assert found == list(PEOPLE[1:])
    assert given_edit(given, found, 0) == ["", "Facts."]
    assert len(edited_passages(data, given, 1, 0)) == 1
    with pytest.raises(ValueError, match=r"e\.json has edits of 2 passages of .*d\.json; 3 are asked for"):
        edited_passages(data, given, 3, 0)
    with pytest.raises(ValueError, match=r"d\.json has 3 passages with questions; 4 are asked for"):
        edited_passages(data, None, 4, 0)
    assert edited_passages(data, None, 0, 0) == list(PEOPLE)
    other = write(tmp_path / "o.json", [{**rows[0], "context": "Something else."}])
    with pytest.raises(ValueError, match=r"o\.json: none of its passages is in .*d\.json, by title and text"):
        edited_passages(data, other, 0, 0)


def test_recorded_edits(shared_data):
    """Every recorded file is taken as it is, with its own questions or those of SQuAD."""
    folder = shared_data / "seal_recorded" / "generated"
    sizes = {}
    for path in sorted(folder.glob("*.json")):
        chosen = chosen_passages(path, 0, 0)
        given = given_edit(path, chosen, 0)
        sizes[path.stem] = len(given)
        items = json.loads(path.read_text())
        assert given == [item["completions"][0] for item in items]
    assert sizes == {"base_val": 200, "gpt4_1_val": 200, "iter0_train": 100, "iter0_train_prompt-self-qa": 50}
    squad = edited_passages(shared_data / "squad" / "squad_val.json", folder / "gpt4_1_val.json", 0, 0)
    assert len(squad) == 200
    assert set(squad) == set(chosen_passages(folder / "gpt4_1_val.json", 0, 0))


SMALL = ["--inner.epochs", "1", "--inner.rank", "2", "--answering.max-new-tokens", "2", "--answering.template", "plain"]


def test_evaluate_with_an_endpoint_as_grader(serve, folder, tmp_path, capsys):
    """Edits without questions, questions from --data, grades from a server that fails on one of the people."""
    rows = [{"title": p.title, "context": p.context, "completions": ["Notes."]} for p in PEOPLE]
    given = write(tmp_path / "e.json", rows)
    data = write(tmp_path / "d.json", [dataclasses.asdict(p) for p in PEOPLE])
    lost = PEOPLE[2].title
    server = serve(lambda body: status(500) if f"Topic: {lost}\n" in body["messages"][-1]["content"] else says("Yes."))
    command = ["seal", "evaluate", "--model", str(folder), "--data", str(data), "--edits", str(given), *SMALL]
    command += ["--answering.grader", "endpoint", "--answering.endpoint.url", server.url, "--answering.endpoint.model"]
    command += ["grader-1", "--answering.endpoint.wait", "0.01", "--answering.endpoint.retries", "1", "--json"]
    assert main([*command, "--out", str(tmp_path / "r")]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert main([*command[:-1], "--out", str(tmp_path / "r")]) == 0
    ungraded = sum(found["ungraded"] for found in result.values() if "ungraded" in found)
    assert f"{ungraded} answers could not be graded and count neither as right nor as wrong" in capsys.readouterr().out
    answered = [stage["value"] for name in ("base", "edits") for stage in [read(tmp_path / f"r/stages/{name}.json")]]
    for found, outcomes in zip((result["base"], result["edits"]), answered):
        verdicts = [v for o in outcomes for v in o["correct"]]
        # Right where there is an answer; nothing known of the last one's that are not empty.
        assert found["ungraded"] == verdicts.count(None) == sum(map(bool, outcomes[2]["answers"]))
        assert [[bool(a) for a in o["answers"]] for o in outcomes[:2]] == [o["correct"] for o in outcomes[:2]]
        assert found["questions"] == 18
    assert result["base"]["ungraded"] + result["edits"]["ungraded"] > 0
    assert KEY not in text_of(tmp_path) + printed.out + printed.err
    before = len(server.requests)
    assert main([*command, "--out", str(tmp_path / "r")]) == 0
    assert len(server.requests) == before
    # A wrong key is one error before anything is graded.
    refusing = serve(lambda body: status(401))
    command[command.index(server.url)] = refusing.url
    assert main([*command, "--out", str(tmp_path / "s")]) == 2
    assert "status 401" in capsys.readouterr().err
    assert len(refusing.requests) == 1


def read(path):
    return json.loads(path.read_text())
