"""`continual metrics` and `continual merge` end to end."""

import json

import jax
import numpy as np
import pytest

from seal_jax import adapters, models
from seal_jax.cli import main
from seal_jax.seal.demo import CHECKPOINT

R1, BASELINE = [[0.90, 0.20, 0.10], [0.70, 0.80, 0.30], [0.75, 0.60, 0.85]], [0.10, 0.12, 0.08]


def matrix(path, scores, **more):
    path.write_text(json.dumps({"matrix": scores, **more}))
    return str(path)


def test_figures_of_a_file(tmp_path, capsys):
    path = matrix(tmp_path / "a.json", R1, baseline=BASELINE, tasks=["dbpedia", "amazon", "agnews"])
    assert main(["continual", "metrics", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["op"] == pytest.approx(0.733333, abs=1e-6)
    assert found["metrics"]["fwt"] == pytest.approx(0.15)
    assert found["by_task"]["forgetting"][2] is None
    assert found["curve"][0] == 0.9
    assert main(["continual", "metrics", path]) == 0
    told = capsys.readouterr().out
    assert "forgot most: amazon, 0.2" in told
    assert "bwt_lower" in told


def test_figures_over_runs(tmp_path, capsys):
    paths = [matrix(tmp_path / f"{i}.json", [[0.5], [0.4 + i, 0.5]]) for i in range(3)]
    assert main(["continual", "metrics", *paths, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["op"] == {"mean": pytest.approx(0.95), "stderr": pytest.approx(0.5 / 3**0.5), "runs": 3}
    other = matrix(tmp_path / "other.json", [[0.5]])
    assert main(["continual", "metrics", *paths, other]) == 2
    assert "the files are of different tasks: task 0 / task 0, task 1" in capsys.readouterr().err


def test_a_matrix_with_holes(tmp_path, capsys):
    path = matrix(tmp_path / "a.json", [[0.5], [None, 0.5]])
    assert main(["continual", "metrics", path]) == 2
    assert "a.json: no number at scores[1][0]: fill it in, or pass --holes for means" in capsys.readouterr().err
    assert main(["continual", "metrics", path, "--holes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["op"] == 0.5
    assert found["metrics"]["bwt"] is None


@pytest.fixture(scope="module")
def peft(tmp_path_factory):
    """Two adapters of the embedded world's model in the PEFT layout, and the model."""
    model, folder = models.from_pretrained(CHECKPOINT), tmp_path_factory.mktemp("peft")
    made = []
    for index, targets in enumerate((["q_proj", "v_proj"], ["q_proj"])):
        keys = jax.random.split(jax.random.key(index), 2)
        adapter = adapters.lora.init(keys[0], model.params, rank=2, alpha=4.0, targets=targets)
        for entry in adapter.values():
            entry["b"] = jax.random.normal(keys[1], entry["b"].shape)
        models.save_peft(folder / str(index), adapter, model.config)
        made.append(adapter)
    return model, made, folder


def test_merged_adapters(peft, tmp_path, capsys):
    model, made, folder = peft
    start = ["continual", "merge", str(folder / "0"), str(folder / "1"), "--model", str(CHECKPOINT)]
    assert main([*start, "--out", str(tmp_path / "a"), "--weights", "0.5", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rank"] == 4
    found = models.load_peft(tmp_path / "a", model.params, model.config)
    for path, entry in found.items():
        parts = [(w, a[path]) for w, a in zip((0.5, 2.0), made, strict=True) if path in a]
        wanted = sum(w * np.asarray(e["a"] @ e["b"]) * 2.0 for w, e in parts)
        np.testing.assert_allclose(
            np.asarray(entry["a"] @ entry["b"]) * entry["scale"][:, None, None], wanted, atol=1e-4
        )
    assert main([*start, "--out", str(tmp_path / "b"), "--method", "ties", "--rank", "1"]) == 0
    assert "rank 1 holds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "1"], "--weights has 1 numbers for 2 adapters: give one each"),
        (["--density", "0"], "--density 0.0: use more than 0, and 1 at most"),
        (["--rank", "0"], "--rank 0: use 1 or more"),
    ],
)
def test_bad_arguments(peft, tmp_path, capsys, arguments, message):
    folder = peft[2]
    start = ["continual", "merge", str(folder / "0"), str(folder / "1"), "--model", str(CHECKPOINT)]
    assert main([*start, "--out", str(tmp_path / "x"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert main([*start[:3], *start[4:], "--out", str(tmp_path / "x")]) == 2
    assert "1 adapters to merge: give two or more" in capsys.readouterr().err
    assert main([*start, "--out", str(folder)]) == 2
    assert "exists and is not an empty directory" in capsys.readouterr().err
