"""Bad input of a search: one clear error each before any work, or an outcome that docs/rain.md describes."""

import json

import jax
import jax.numpy as jnp
import pytest

from seal_jax import models
from seal_jax.cli import main
from seal_jax.data.worlds.tokenizer import build

QUICK = ["--max-new-tokens", "6", "--max-searches", "5", "--floor-searches", "2", "--max-simulation", "3"]
QUICK += ["--min-visits", "1"]
ASKED = "[judge]\n{text}\nGood?\n"


@pytest.fixture(scope="module")
def ending(tmp_path_factory):
    """The folder of a model that says nothing but its end token, whatever was said, and likes A better than B."""
    folder = tmp_path_factory.mktemp("ending")
    tokenizer = build()
    config = models.Config("llama", len(tokenizer), 32, 48, 2, 4, 2, 8, 256, eos_token_ids=(tokenizer.eos_token_id,))

    def blind(path, x):
        name = jax.tree_util.keystr(path)
        return jnp.zeros_like(x) if "o_proj" in name or "down_proj" in name else x

    params = jax.tree_util.tree_map_with_path(blind, models.init(jax.random.key(0), config))
    params["embed_tokens"]["embedding"] = jnp.ones_like(params["embed_tokens"]["embedding"])
    logits = jnp.linspace(0, -0.1, config.vocab_size).at[tokenizer.eos_token_id].set(1)
    head = {"kernel": jnp.broadcast_to(logits, (config.hidden_size, config.vocab_size))}
    models.save_pretrained(folder, config, {**params, "lm_head": head}, tokenizer)
    return folder


@pytest.fixture
def run(tmp_path, ending, capsys):
    """A function that runs the command on a prompts file of this content, and gives its exit code and last line."""

    def call(*more, name="p.txt", content=b"Ada was born in\n", judge="dialogue"):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        start = ["--model", ending, "--prompts", path, "--out", tmp_path / "run", "--judge", judge]
        code = main(["rain", *map(str, start), *QUICK, *map(str, more)])
        return code, capsys.readouterr().err.splitlines()[-1]

    return call


def refused(found, *parts):
    code, said = found
    assert code == 2
    assert said.startswith("seal-jax: error: ")
    for part in parts:
        assert part in said, said


def test_prompt_files_that_cannot_be_read(run, tmp_path):
    refused(run(content=None), "p.txt: No such file or directory")
    (tmp_path / "folder").mkdir()
    refused(run(name="folder", content=None), "folder: Is a directory")
    refused(run(content=b"ok\nna\xefve\n"), "p.txt line 2 is not UTF-8: byte 0xef at column 3")
    refused(run(content=b"\n \n"), "p.txt has no prompts in it")
    refused(run(name="p.jsonl", content=b'{"prompt": "a"}\n{"prompt": "b'), "p.jsonl line 2 is not JSON: ")
    refused(run(name="p.jsonl", content=b'{"text": "a"}\n'), 'p.jsonl line 1: expected {"prompt": "text"} or', "found")
    refused(run(name="p.json", content=b'[\n{"prompt": "a"},\n{"prompt" "b"}]'), "p.json: invalid JSON at line 3, col")
    refused(
        run(name="p.json", content=b'[{"prompt": "a"}, {"prompt": 3}]'), "p.json: item 1: expected ", '{"prompt": 3}'
    )
    refused(run(name="p.json", content=b'{"prompt": "a"}'), "p.json: expected a list of prompts", "not an object")
    refused(run(name="p.json", content=b"\xff"), "p.json: not UTF-8, byte 0xff at offset 0 on line 1")
    refused(run(name="p.json", content=b"[]"), "p.json has no prompts in it")
    assert not (tmp_path / "run").exists()


def test_prompts_that_cannot_be_searched(run):
    empty = json.dumps({"prompt": "a"}) + "\n" + json.dumps({"prompt": " "})
    refused(run(name="p.jsonl", content=empty.encode()), "p.jsonl: prompt 1 is empty")
    refused(run(name="p.jsonl", content=b'{"messages": []}'), "p.jsonl: prompt 0 is empty")
    long = b"a\n" + b"born in " * 150
    refused(
        run(content=long), "prompt 1 has ", "tokens and its search reads up to ", "more than the model's 256 positions"
    )
    chat = b'{"messages": [{"role": "user", "content": "hi"}]}'
    refused(run(name="p.jsonl", content=chat), "prompt 0 is messages, but the tokenizer has no chat template")


def test_judges_that_cannot_judge(run, tmp_path):
    own = tmp_path / "judge.txt"

    def judged(text, *more, **how):
        own.write_text(text)
        return run(*more, judge=own, **how)

    refused(run(judge="harmles"), "harmles", "harmless")
    refused(run(judge="harmless"), "leaves no room for a text in the model's 256 positions: use fewer examples")
    long = f"[judge]\n{'{text} Is it so? ' + 'Why? ' * 35}{{answer}}\n[answers]\n+1 yes\n-1 no"
    refused(
        judged(long, content=b"born in " * 40),
        "a judged text may have ",
        " tokens, and the judge's prompt leaves room for ",
    )
    refused(judged("[judge]\n{text} {who}\n{answer}\n[answers]\n+1 yes\n-1 no"), "judge.txt", "{who}")
    refused(judged("[judge]\n{text}\n{answer}"), "judge.txt: expected the sections")
    refused(judged(f"{ASKED}{{answer}}\n[answers]\n+1 yes\n-1 yes"), "judge.txt", "does not tell the answers", "'yes'")
    refused(judged(f"{ASKED}{{answer}}\n[answers]\n+1 yes\n-1 yes!"), "judge.txt", "does not tell the answers")
    refused(judged(f"{ASKED}{{answer}}\n[answers]\n+1 yes\n+1 no"), "a judge needs two answers of different value")
    refused(judged(f"{ASKED}{{answer}}\n[answers]\n+1 yes\n-1 no", "--judge-shots", 1), "has 0 examples")
    refused(judged(f"{ASKED}{{answer}}\n[answers]\n+1 yes\n-1 no", "--judge-chat"), "chat template")


def test_settings_that_cannot_be_searched_with(run, tmp_path):
    refused(run("--max-searches", 1), "--max-searches 1: use a whole number, 2 or more")
    refused(run("--value-threshold", 2), "--value-threshold 2.0: use a number from -1 to 1")
    refused(run("--candidates", 30), "--candidates 30: use at most max_children, 20")
    refused(run("--slots", 0), "--slots 0: use 1 or more")
    refused(run("--embed", tmp_path / "nowhere"), "nowhere")
    refused(run("--data", "imdb"), "give --prompts FILE, or --data NAME")


def test_a_search_that_cannot_fit_is_refused_with_the_number(run, monkeypatch):
    from seal_jax.runtime import resources

    monkeypatch.setattr(resources, "device_memory", lambda: 100_000)
    refused(run(), "needs ", " on each device before any activation, and a device has 0.1 MB: a lower --slots")


def test_a_model_that_only_ends_texts_and_a_judge_that_always_says_the_same(run, tmp_path):
    """Texts are empty and ended by themselves. What the judge likes is said early; else all searches are made."""
    own, found = tmp_path / "judge.txt", {}
    for yes, no in ((1, -1), (-1, 1)):
        own.write_text(f"{ASKED}{{answer}}\n[answers]\n{yes:+} yes\n{no:+} no")
        code, _ = run("--restart", judge=own, content=b"Ada\nthe of\n")
        assert code == 0
        for line in (tmp_path / "run" / "texts.jsonl").read_text().splitlines():
            row = json.loads(line)
            assert (row["text"], row["tokens"], row["finished"], row["commits"]) == ("", [], True, 1)
            found.setdefault(row["value"], set()).add(row["searches"])
    assert found == {1.0: {3}, -1.0: {5}}


def test_a_judge_that_always_takes_the_first_letter_says_nothing(run, tmp_path):
    """Both orders cancel out: values are 0, nothing is sure, and every search that is allowed is made."""
    code, _ = run(content=b"Ada\nthe of\n")
    assert code == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "texts.jsonl").read_text().splitlines()]
    assert [(row["value"], row["searches"]) for row in rows] == [(0, 5), (0, 5)]
