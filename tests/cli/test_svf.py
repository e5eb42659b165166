"""`seal-jax svf ...` on the skills world, with few problems: one expert, and everything that can be done with it."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, models
from seal_jax.cli import main
from seal_jax.transformer2 import skills
from seal_jax.transformer2.expert_files import load_expert, save_expert
from seal_jax.transformer2.mixing import mix_experts

MODEL = ["--model", str(skills.CHECKPOINT)]
TASK = ["--task", "skills:sums", "--test", "12"]
TRAINING = ["--train", "16", "--reinforce.iterations", "2", "--reinforce.batch-size", "8"]
TRAINING += ["--reinforce.eval-every", "1", "--reinforce.validate-on", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("svf")


@pytest.fixture(scope="module")
def run(folder):
    """A function that runs `svf ...` with --json and gives the result, of an exit code of 0."""

    def call(capsys, *argv):
        assert main(["svf", *map(str, argv), "--json"]) == 0
        said = capsys.readouterr()
        return json.loads(said.out), said.err

    return call


@pytest.fixture(scope="module")
def trained(folder):
    """An expert of `svf train`, and one that is certainly another, in one directory."""
    argv = [*MODEL, *TASK, *TRAINING, "--factors", str(folder / "factors"), "--out", str(folder / "train")]
    assert main(["svf", "train", *argv]) == 0
    library = folder / "library"
    library.mkdir()
    shutil.copy(folder / "train" / "skills_sums.safetensors", library / "sums.safetensors")
    expert = load_expert(library / "sums.safetensors")
    keys = iter(jax.random.split(jax.random.key(0), len(expert.adapter)))
    moved = {
        path: {"raw": e["raw"] + jax.random.normal(next(keys), e["raw"].shape)} for path, e in expert.adapter.items()
    }
    save_expert(library / "other.safetensors", expert._replace(adapter=moved))
    return library


def test_train_writes_an_expert(trained, folder, run, capsys):
    result, said = run(
        capsys, "train", *MODEL, *TASK, *TRAINING, "--factors", folder / "factors", "--out", folder / "train"
    )
    assert json.loads((folder / "train" / "result.json").read_text()) == result  # the same command goes on, or is done
    expert = load_expert(trained / "sums.safetensors")
    assert (expert.meta.task, expert.meta.targets, expert.meta.seed) == ("skills:sums", ("mlp",), 0)
    assert expert.meta.score == result["training"]["best"]["accuracy"]
    assert expert.meta.settings["method"] == "reinforce"
    assert expert.meta.settings["reinforce"]["iterations"] == 2
    assert result["parameters"] == sum(e["raw"].size for e in expert.adapter.values())
    assert [row["iteration"] for row in result["training"]["validations"]] == [0, 1, 2]
    assert (result["base"]["problems"], result["expert"]["problems"]) == (12, 12)
    assert result["differences"]["expert - base"]["problems"] == 12
    for line in ("model: llama", "factors: ", f"experts: {result['parameters']:,} numbers are trained", "disk: about"):
        assert any(told.startswith(line) for told in said.splitlines()), line
    kept = json.loads((folder / "train" / "config.json").read_text())
    assert {"reinforce", "svf"} <= set(json.dumps(kept).replace('"', " ").split())


@pytest.mark.slow
def test_train_lora_on_solutions(folder, run, capsys):
    small = ["--train", "8", "--supervised.iterations", "1", "--supervised.batch-size", "4"]
    small += ["--supervised.validate-on", "4", "--method", "supervised", "--adapter", "lora", "--lora.rank", "2"]
    expert = folder / "lora" / "sums-lora.safetensors"
    result, said = run(capsys, "train", *MODEL, *TASK, *small, "--out", folder / "lora", "--expert", expert)
    found = load_expert(expert)
    assert all(entry.keys() == {"a", "b", "scale"} for entry in found.adapter.values())
    assert result["parameters"] == sum(e[n].size for e in found.adapter.values() for n in ("a", "b"))
    assert "factors:" not in said


def test_evaluate_has_every_expert_and_the_base(trained, folder, run, capsys):
    kept = {path: path.stat().st_mtime_ns for path in (folder / "factors").rglob("*.safetensors")}
    argv = ["evaluate", *MODEL, *TASK, "--experts", trained, "--factors", folder / "factors"]
    result, said = run(capsys, *argv, "--out", folder / "evaluate")
    assert len(kept) == 9  # three matrices in three layers, found again
    assert {path: path.stat().st_mtime_ns for path in (folder / "factors").rglob("*.safetensors")} == kept
    assert f"kept in {folder / 'factors'}" in said
    assert set(result["differences"]) == {"sums - base", "other - base"}
    alone, _ = run(
        capsys, "train", *MODEL, *TASK, *TRAINING, "--factors", folder / "factors", "--out", folder / "train"
    )
    assert result["sums"] == alone["expert"]
    assert result["base"] == alone["base"]


@pytest.mark.slow
def test_cem_scores_the_mixture_on_the_rest(trained, folder, run, capsys):
    argv = [
        "cem",
        *MODEL,
        *TASK,
        "--experts",
        trained,
        "--shots",
        "4",
        "--out",
        folder / "cem",
    ]
    argv += ["--generations", "2", "--cem.population", "4", "--cem.elite-ratio", "0.5", "--per", "layer"]
    result, _ = run(capsys, *argv)
    assert result["base"]["problems"] == result["mixture"]["problems"] == 8
    assert len(result["shots"]["ids"]) == 4
    assert len(result["history"]) == 2
    assert result["experts"] == ["other", "sums"]
    mixture = load_expert(folder / "cem" / "mixture.safetensors", models.from_pretrained(skills.CHECKPOINT).params)
    experts = [load_expert(trained / f"{name}.safetensors").adapter for name in result["experts"]]
    wanted = mix_experts(experts, jnp.asarray(result["weights"]), "layer")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), mixture.adapter, wanted)
    (folder / "cem" / "result.json").unlink()
    again, _ = run(capsys, *argv)
    assert {**again, "seconds": 0} == {**result, "seconds": 0}
    # Experts of another base make a mixture that belongs to this one, where it was found.
    for name, expert in zip(result["experts"], map(load_expert, sorted(trained.glob("*.safetensors")))):
        meta = expert.meta._replace(base="f" * 32, base_name="another")
        save_expert(folder / "strangers" / f"{name}.safetensors", expert._replace(meta=meta))
    argv = [folder / "strangers" if part == trained else part for part in argv[:-8]]
    random, _ = run(capsys, *argv, *["--generations", "1", "--search", "random", "--random.population", "2"],
                    "--allow-transfer", "--out", folder / "random")  # fmt: skip
    assert random["per"] == "global"
    moved = load_expert(folder / "random" / "mixture.safetensors").meta
    assert (moved.base, moved.shapes, moved.base_name) == (mixture.meta.base, mixture.meta.shapes, MODEL[1])


@pytest.mark.slow
def test_dispatch_sorts_and_compares(trained, folder, run, capsys):
    argv = ["dispatch", *MODEL, "--tasks", "skills:sums", "skills:letters", "--test", "6", "--experts", trained]
    argv += ["--labels", "sums", "--sort-template", "classify-skills", "--sort-chat"]
    result, _ = run(capsys, *argv, "--out", folder / "dispatch")
    assert sum(result["labels"].values()) == result["base"]["problems"] == 12
    assert set(result["labels"]) <= {"sums", "others"}
    assert set(result["confusion"]) == set(result["by_task"]) == {"skills:sums", "skills:letters"}
    assert result["by_task"]["skills:sums"]["base"]["problems"] == 6
    sorter = folder / "sorter.safetensors"
    sort = ["--sort", "sums=skills:sums", "letters=skills:letters", "--sort-template", "classify-skills", "--sort-chat"]
    sort += ["--test", "4", *TRAINING, "--reinforce.iterations", "1", "--expert", sorter, "--out", folder / "sort"]
    learnt, _ = run(capsys, "train", *MODEL, *sort)
    assert learnt["base"]["problems"] == 4
    assert load_expert(sorter).meta.task == "sort"
    by_expert, _ = run(
        capsys, *argv, "--strategy", "classifier", "--classifier", sorter, "--out", folder / "dispatch_by_expert"
    )
    assert sum(by_expert["labels"].values()) == 12


@pytest.mark.slow
def test_serve_batch_gives_each_row_its_expert(trained, folder, run, capsys):
    problems = skills.task("sums").test[:4]
    names = ["sums", None, "other", None]
    lines = [{"messages": list(p.prompt), "expert": n} for p, n in zip(problems[:3], names)]
    lines.append({"messages": list(problems[3].prompt)})
    (folder / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    argv = ["serve-batch", *MODEL, "--experts", trained, "--prompts", folder / "p.jsonl", "--max-new-tokens", "8"]
    result, _ = run(capsys, *argv)
    assert result["experts"] == {"sums": 1, "base": 2, "other": 1}
    model = models.from_pretrained(skills.CHECKPOINT)
    factors = adapters.svf.factor(model.params)
    for problem, name, row in zip(problems, names, result["answers"]):
        params = model.params
        if name:
            params = adapters.attach(params, load_expert(trained / f"{name}.safetensors").adapter, factors)
        [text] = _texts(model._replace(params=params), problem)
        assert (row["text"], row["expert"]) == (text, name)
    written, _ = run(capsys, *argv, "--batch-size", "3", "--out", folder / "o.jsonl")
    assert written["out"] == str(folder / "o.jsonl")
    assert [json.loads(line) for line in (folder / "o.jsonl").read_text().splitlines()] == result["answers"]
    chosen, _ = run(capsys, *argv, "--choose", "--labels", "sums", "--sort-template", "classify-skills", "--chat")
    assert [row["expert"] for row in chosen["answers"]][:3] == names[:3]
    assert chosen["answers"][3]["expert"] in ("sums", None)


def _texts(model, problem):
    from seal_jax import generation

    out = generation.generate(model.params, model.config, [problem.prompt], None, 8, tokenizer=model.tokenizer)
    return out.texts


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "--task", "skills:nothing"], "'nothing': no family of the skills world; families are sums"),
        (
            ["train", "--task", "skills:sums", "--data", "x.json"],
            "skills:sums: a world's problems and prompts are its own",
        ),
        (["train", "--task", "sums"], "there is no task 'sums'; there are gsm8k, math,"),
        (
            ["train", "--task", "gsm8k", "--data", "{rows}"],
            "rows.jsonl: line 1: missing key 'answer'",
        ),
        (["train", "--task", "skills:sums", "--svf.rank", "0"], "--svf.rank 0: use 1 or more"),
        (["train"], "give --task NAME, or --sort LABEL=TASK for each label"),
        (["train", "--sort", "sums"], "--sort sums: expected LABEL=TASK, as in math=gsm8k"),
        (["train", "--task", "skills:sums", "--rows", "0"], "--rows 0: use 1 or more"),
        (["train", "--task", "skills:sums", "--expert", "x.bin"], "--expert x.bin: an expert is a .safetensors file"),
        (["train", "--task", "skills:sums", "--svf.targets", "conv"], "target 'conv' matches no kernel"),
        (["evaluate", "--task", "skills:sums", "--experts", "none.safetensors"], "none.safetensors: No such file"),
        (["evaluate", "--task", "skills:sums", "--experts", "{empty}"], "holds no expert: expected .safetensors"),
        (["evaluate", "--task", "skills:sums", "--experts", "{short}"], "not a complete safetensors file"),
        (["evaluate", "--task", "skills:sums", "--experts", "{base}"], "an expert named 'base' would be taken for"),
        (
            ["evaluate", "--task", "skills:sums", "--experts", "{stranger}"],
            "(--allow-transfer) uses an expert on",
        ),
        (["cem", "--task", "skills:sums", "--experts", "{library}", "--shots", "0"], "--shots 0: use 1 or more"),
        (
            ["cem", "--task", "skills:sums", "--experts", "{library}", "--shots", "12", "--test", "12"],
            "12 shots of the 12 problems in test: use 1 or more, and leave some",
        ),
        (
            ["cem", "--task", "skills:sums", "--experts", "{library}", "--cem.population", "1"],
            "--cem.population 1: use 2 or more",
        ),
        (
            ["dispatch", "--tasks", "skills:sums", "--experts", "{library}", "--strategy", "classifier"],
            "--strategy classifier and --classifier FILE go together",
        ),
        (
            ["dispatch", "--tasks", "skills:sums", "--experts", "{library}", "--labels", "nobody"],
            "--labels nobody: no expert is named so; experts are other, sums",
        ),
        (["serve-batch", "--experts", "{library}", "--prompts", "{prompts}"], "prompt 0 asks for the expert 'who'"),
        (["serve-batch", "--experts", "{library}", "--prompts", "{bad}"], "expert is 3, not a name or null"),
    ],
)
def test_bad_input_is_one_line(trained, tmp_path, capsys, argv, message):
    (tmp_path / "empty").mkdir()
    whole = (trained / "sums.safetensors").read_bytes()
    for name, content in (("short", whole[:1000]), ("base", whole)):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    expert = load_expert(trained / "sums.safetensors")
    save_expert(tmp_path / "stranger.safetensors", expert._replace(meta=expert.meta._replace(base="f" * 64)))
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a", "expert": "who"}\n')
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "expert": 3}\n')
    (tmp_path / "rows.jsonl").write_text('{"question": "How many?"}\n')
    places = {n: str(tmp_path / f"{n}.safetensors") for n in ("short", "base", "stranger")}
    places |= {n: str(tmp_path / f"{n}.jsonl") for n in ("prompts", "bad", "rows")}
    places |= {"empty": str(tmp_path / "empty"), "library": str(trained)}
    out = [] if argv[0] == "serve-batch" else ["--out", str(tmp_path / "out")]
    assert main(["svf", argv[0], *MODEL, *[a.format(**places) for a in argv[1:]], *out]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("seal-jax: error: ")
    assert message in told
