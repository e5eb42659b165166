"""The options of `seal-jax generate` against the function they reach."""

import json

import jax
import numpy as np
import pytest

from seal_jax import adapters, generation, models
from seal_jax.cli import main
from seal_jax.cli.prompt_file import Asked, read_prompts
from seal_jax.data.worlds.tokenizer import build

TEMPLATE = """{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model whose tokenizer has a chat template, and two adapters of different rank, as folders and as values."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = build()
    tokenizer.chat_template = TEMPLATE
    config = models.Config("llama", len(tokenizer), 32, 48, 2, 4, 2, 8, 256, eos_token_ids=(tokenizer.eos_token_id,))
    params = jax.tree.map(lambda x: 8 * x, models.init(jax.random.key(0), config))
    models.save_pretrained(folder / "model", config, params, tokenizer)
    loras = []
    for n, rank in enumerate((1, 3)):
        fresh = adapters.lora.init(jax.random.key(n), params, rank=rank, alpha=4)
        keys = iter(jax.random.split(jax.random.key(9 + n), len(fresh)))
        loras.append({p: {**e, "b": 0.5 * jax.random.normal(next(keys), e["b"].shape)} for p, e in fresh.items()})
        models.save_peft(folder / f"adapter{n}", loras[-1], config)
    return folder, models.Model(config, params, tokenizer), loras


def run(capsys, tmp_path, *arguments):
    """The rows that a command writes."""
    assert main(["generate", *map(str, arguments), "--out", str(tmp_path / "o.jsonl"), "--json"]) == 0, (
        capsys.readouterr().err
    )
    capsys.readouterr()
    return [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]


def test_penalties_samples_and_likeliest_tokens(tiny, tmp_path, capsys):
    folder, model, _ = tiny
    options = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 3, "min_p": 0.05}
    options |= {"presence_penalty": 0.2, "frequency_penalty": 0.1, "samples": 2, "top_logprobs": 3, "prefill_chunk": 4}
    flags = [x for name, value in options.items() for x in ("--" + name.replace("_", "-"), value)]
    prompts = ["Ada was born in the", "the of and"]
    given = [x for p in prompts for x in ("--prompt", p)]
    how = ["--model", folder / "model", *given, "--max-new-tokens", 8, "--temperature", 1, "--seed", 3, *flags]
    rows = run(capsys, tmp_path, *how)
    key = jax.random.key(3)
    want = generation.generate(
        model.params, model.config, prompts, key, 8, temperature=1.0, tokenizer=model.tokenizer, **options
    )
    assert [row["tokens"] for row in rows] == want.tokens
    assert [(row["prompt"], row["sample"]) for row in rows] == [(p, s) for p in prompts for s in (0, 1)]
    assert [[[i for i, _ in t] for t in row["top_logprobs"]] for row in rows] == [
        [[i for i, _ in t] for t in row] for row in want.top_logprobs
    ]
    assert [row["tokens"] for row in run(capsys, tmp_path, *how, "--batch-size", 1)] == want.tokens


def test_json_has_the_continuations_unless_a_file_has_them(tiny, tmp_path, capsys):
    start = ["generate", "--model", str(tiny[0] / "model"), "--prompt", "Ada was", "--max-new-tokens", "3"]
    start += ["--top-logprobs", "2"]
    assert main([*start, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["continuations"]
    assert shown == run(capsys, tmp_path, *start[1:])
    assert [len(t) for t in shown[0]["top_logprobs"]] == [2] * len(shown[0]["tokens"])
    assert main([*start, "--json", "--out", str(tmp_path / "o.jsonl")]) == 0
    assert "continuations" not in json.loads(capsys.readouterr().out)


def test_a_stopped_job_goes_on(tiny, tmp_path, capsys, monkeypatch):
    """After its last whole batch, to the rows of a job that was never stopped; other arguments are refused."""
    prompts = [x for p in ("Ada was", "the", "of the", "and") for x in ("--prompt", p)]
    how = ["--model", tiny[0] / "model", *prompts, "--max-new-tokens", 4, "--temperature", 1, "--samples", 2]
    how += ["--batch-size", 1]
    out, part = tmp_path / "o.jsonl", tmp_path / "o.jsonl.part"
    whole = run(capsys, tmp_path, *how)
    assert not part.exists()
    out.unlink()
    asked, generate = [], generation.generate

    def stopped(*given, **named):
        asked.append(named["row_ids"])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return generate(*given, **named)

    monkeypatch.setattr(generation, "generate", stopped)
    assert main(["generate", *map(str, how), "--out", str(out)]) == 130
    assert "goes on from there" in capsys.readouterr().err
    assert not out.exists()
    with part.open("a") as file:
        file.write('{"rows": [{"torn')
    assert main(["generate", *map(str, how), "--out", str(out), "--seed", "1"]) == 2
    assert "o.jsonl.part was begun with other arguments" in capsys.readouterr().err
    assert run(capsys, tmp_path, *how) == whole
    assert [list(ids) for ids in asked] == [[0], [1], [2], [2], [3]]
    assert not part.exists()


def test_a_refused_job_leaves_nothing(tiny, tmp_path, capsys):
    how = ["generate", "--model", str(tiny[0] / "model"), "--out", str(tmp_path / "o.jsonl")]
    assert main([*how, "--prompt", "a", "--max-new-tokens", "100000"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert "positions" in capsys.readouterr().err


def test_chats_with_an_adapter_per_line(tiny, tmp_path, capsys):
    folder, model, loras = tiny
    said = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "who is Ada?"}]
    lines = [
        {"messages": said, "adapter": "adapter1"},
        {"prompt": "who is Ada?"},
        {"prompt": "who is Ada?", "adapter": None},
    ]
    path = folder / "p.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    how = ["--model", folder / "model", "--prompts", path, "--adapter", folder / "adapter0", "--max-new-tokens", 6]
    how += ["--chat", "--system", "be brief"]
    rows = run(capsys, tmp_path, *how)
    trees = [adapters.attach(model.params, loras[1]), adapters.attach(model.params, loras[0]), model.params]
    for row, tree in zip(rows, trees):
        want = generation.generate(tree, model.config, [said], None, 6, tokenizer=model.tokenizer)
        assert row["tokens"] == want.tokens[0]
        np.testing.assert_allclose(row["logprobs"], want.logprobs[0], atol=1e-4)
    assert [row.get("adapter", "unnamed") for row in rows] == [str(folder / "adapter1"), "unnamed", None]
    shared = run(capsys, tmp_path, *how, "--share-prefix")
    assert [row["tokens"] for row in shared] == [row["tokens"] for row in rows]


def test_prompt_files(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"prompt": "a", "adapter": "x"}\n{"messages": [{"role": "user"}]}\n{"prompt": "", "adapter": null}\n'
    )
    assert read_prompts(path) == [Asked("a", tmp_path / "x"), Asked([{"role": "user"}]), Asked("", None)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "b"}', 'line 1: expected {"prompt": "text"} or {"messages"'),
        ('{"prompt": ["a"]}', "line 1: expected"),
        ('{"prompt": "a", "messages": []}', "line 1: expected"),
        ('{"messages": "a"}', "line 1: expected"),
        ('{"prompt": "a", "adapter": 3}', "line 1: adapter is 3, not a directory or null"),
        ("[]", "line 1: expected"),
    ],
)
def test_bad_lines(tmp_path, line, message):
    path = tmp_path / "p.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        read_prompts(path)


def test_refusals(tiny, tmp_path, capsys):
    folder, model, _ = tiny
    plain = tmp_path / "plain"
    models.save_pretrained(plain, model.config, model.params, build())
    start = ["generate", "--prompt", "a", "--model"]
    for arguments, message in (
        ([*start, str(folder / "model"), "--system", "x"], "--system is a message of a chat: give --chat too"),
        ([*start, str(plain), "--chat"], "the tokenizer has no chat template"),
        (
            [*start, str(folder / "model"), "--top-logprobs", "2"],
            "--top-logprobs is not shown in the table: give --out",
        ),
        ([*start, str(folder / "model"), "--samples", "0"], "--samples 0: use 1 or more"),
        ([*start, str(folder / "model"), "--repetition-penalty", "0"], "repetition_penalty=0.0"),
        ([*start, str(folder / "model"), "--min-new-tokens", "65"], "min_new_tokens=65 is more than"),
    ):
        assert main(arguments) == 2
        err = capsys.readouterr().err.splitlines()[-1]
        assert err.startswith("seal-jax: error: ")
        assert message in err
