"""The shipped checkpoint on real passages it was never made for: adapting to a passage teaches about that passage."""

import dataclasses

import pytest

from seal_jax import models
from seal_jax.cli import main
from seal_jax.data.squad import Passage, load_squad
from seal_jax.runtime import Run
from seal_jax.runtime.files import read_json
from seal_jax.seal import answers, demo, knowledge, reward
from seal_jax.seal.settings import Answering, Edits, Inner, Settings

# What a real model gets, but for an inner loop like the demo's (the width is 128) on whole edits, so all of one shape.
SETTINGS = Settings(
    edits=Edits(max_new_tokens=32),
    inner=Inner(rank=16, alpha=32.0, targets=("all",), learning_rate=5e-3, epochs=5, split_newlines=False, at_once=24),
    answering=Answering(max_new_tokens=4),
    reward="loglik",
    seeds=1,
)


@pytest.fixture(scope="module")
def squad(shared_data):
    return load_squad(shared_data / "squad" / "squad_val.json")


@pytest.fixture(scope="module")
def evaluated(squad, tmp_path_factory):
    """Short passages with three questions each: before, after their own edit and after one of another article's."""
    model = models.from_pretrained(demo.CHECKPOINT)
    size = lambda p: len(model.tokenizer.encode(f"{p.title}\n{p.context}"))  # noqa: E731
    articles: dict[str, list[Passage]] = {}
    for p in squad:
        if len(p.questions) >= 3 and size(p) <= 254:
            articles.setdefault(p.title, []).append(dataclasses.replace(p, questions=p.questions[:3]))
    chosen = [short[k] for k in range(2) for short in articles.values() if len(short) > k]
    with Run(tmp_path_factory.mktemp("squad"), SETTINGS) as run:
        edits = knowledge.write(run, "edits", model, chosen, SETTINGS, 0)
        how = {"base": {"adapt": False}, "own": {"edits": edits}, "other": {"edits": edits, "shift": 1}}
        found = {n: knowledge.evaluate(run, n, model, chosen, SETTINGS, 0, **h) for n, h in how.items()}
        outcomes = {n: run.stage(n, lambda: None) for n in how}
    return chosen, found, outcomes


@pytest.mark.parametrize("other", ["base", "other"])
def test_gold_answers_become_likelier(evaluated, other):
    """By more than two paired standard errors, over passages and over questions clustered by passage."""
    chosen, found, outcomes = evaluated
    assert len(chosen) >= 20
    assert all(a.title != b.title for a, b in zip(chosen, [*chosen[1:], chosen[0]]))
    by_passage = knowledge.compare(found["own"], found[other], "loglik")
    assert by_passage["difference"] > 2 * by_passage["stderr"] > 0
    one, two = (answers.verdicts(outcomes[name], "loglik") for name in ("own", other))
    difference, error = reward.paired(one, two, [p.context for p in chosen for _ in p.questions])
    assert difference > 2 * error > 0


def test_nothing_diverged_and_every_question_was_scored(evaluated):
    chosen, found, outcomes = evaluated
    assert [entry["diverged"] for entry in found.values()] == [0, 0, 0]
    for rows in outcomes.values():
        assert [len(o["loglik"]) for o in rows] == [3] * len(chosen)
    assert {o["steps"] for o in outcomes["own"]} == {10}  # the edit and the passage, five times


def test_the_command(tiny, shared_data, tmp_path, capsys):
    """`seal train` on real passages with a random model, so that it takes seconds: every key, and a checkpoint."""
    config = dataclasses.replace(tiny.config, max_position=1024)
    models.save_pretrained(tmp_path / "model", config, tiny.params, tiny.tokenizer)
    command = ["seal", "train", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "run"), "--json"]
    command += ["--data", str(shared_data / "squad" / "squad_val.json"), "--passages", "2", "--edits", "2"]
    command += ["--rounds", "1", "--reward", "loglik", "--seeds", "1", "--edits.kind", "plain"]
    command += ["--edits.max-new-tokens", "5", "--answering.max-new-tokens", "4", "--inner.epochs", "1"]
    command += ["--inner.max-length", "64", "--inner.rank", "2", "--policy.rank", "2", "--policy.max-length", "768"]
    assert main(command) == 0
    result = read_json(tmp_path / "run" / "result.json")
    assert {"base", "round_0", "other_passage", "round_1", "random_edits", "differences"} < set(result)
    assert result["round_0"]["passages"] == 2
    assert result["differences"]["round_0 - other_passage"]["loglik"]["stderr"] > 0
    assert (tmp_path / "run" / "accuracy.png").stat().st_size > 1000
    capsys.readouterr()
