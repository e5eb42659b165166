"""`experiments.transformer2_shots`: which draws are searched, what is told of them, and that a run goes on."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import transformer2_shots as experiment
from seal_jax.transformer2 import demo, study, study_mixtures
from seal_jax.transformer2.few_shot import Found


@pytest.fixture
def searches(monkeypatch):
    """In place of training, of searches and of answers: the shots and the search of each few-shot adaptation."""
    found = []

    def trained(parts, name, arm):
        factors = parts.factors_of(demo.ARMS["svf_reward"])
        expert = SimpleNamespace(adapter={path: {"raw": jnp.zeros_like(x["s"])} for path, x in factors.items()})
        return dict.fromkeys(parts.settings.seeds, dict.fromkeys(parts.tasks, expert))

    def few_shot(model, experts, factors, task, shots, settings, key, items=None):
        found.append(([problem.id for problem in shots], settings, jax.random.key_data(key).tolist()))
        mixture = {path: {"z": jnp.ones_like(entry["raw"])} for path, entry in experts[0].items()}
        return Found(jnp.array([[0.5], [0.25], [0.25]]), mixture, 1.0, 0.0, [])

    def verdicts(model, task, problems, adapter=None, *_, **__):
        mixture = adapter is not None and "z" in next(iter(adapter.values()))
        return [mixture or number % 2 == 0 for number in range(len(problems))]

    monkeypatch.setattr(demo.Parts, "trained", trained)
    monkeypatch.setattr(study_mixtures, "few_shot", few_shot)
    for module in (study, study_mixtures):
        monkeypatch.setattr(module, "verdicts", verdicts)
    return found


def test_every_draw_is_another(searches, tmp_path, capsys):
    args = experiment.Arguments(out=tmp_path / "out", study=tmp_path / "study", draws=2)
    result = experiment.main(args)
    assert len(searches) == 3 * 3 * len(experiment.SEARCHES)
    for settings in experiment.SEARCHES.values():
        shots, keys = zip(*((tuple(s), str(k)) for s, how, k in searches if how == settings))
        assert len(set(shots)) == len(set(keys)) == 9
    assert np.array(result["accuracy"]["cem"]).tolist() == np.ones((3, 3)).tolist()
    assert np.shape(result["weights"]["random"]) == (3, 3, 3)
    assert json.loads((tmp_path / "out/result.json").read_text())["accuracy"] == result["accuracy"]
    assert "+50.0 ± 0.0, 6 of 6" in capsys.readouterr().out
    again = experiment.main(experiment.Arguments(out=tmp_path / "out", study=tmp_path / "study", draws=3))
    assert len(searches) == 3 * 4 * len(experiment.SEARCHES)
    assert [own[:3] for own in again["accuracy"]["base"]] == result["accuracy"]["base"]


def test_rows_pair_conditions_draw_by_draw():
    accuracy = {
        "sums": [[0.9, 0.4, 0.5], [0.9, 0.5, 0.6]],
        "letters": [[0.9, 0.1, 0.1], [0.9, 0.1, 0.1]],
        experiment.LORA: [[0.0, 0.5, 0.5], [0.0, 0.5, 0.5]],
        "cem": [[0.0, 0.5, 0.7], [0.0, 0.7, 0.6]],
    }
    weights = {"cem": [[[9, 0], [1, 1], [0, 0]], [[9, 0], [3, 1], [1, 4]]]}
    sums, _, _, cem = experiment.rows(accuracy, weights, ["sums", "letters"], 1)
    assert sums["pairs"] == "50.0 ± 4.1"
    assert cem["by seed"] == "60.0, 65.0"
    assert cem["range"] == "50.0 to 70.0"
    gains = np.array([10, 20, 20, 0])
    assert cem["over sums"] == f"+12.5 ± {gains.std(ddof=1) / 2:.1f}, 3 of 4"
    assert "over cem" not in cem
    assert cem["shares"] == "0.00 to 0.75, 0.00 to 0.80"
    assert "shares" not in sums


def test_no_further_draw(tmp_path):
    with pytest.raises(ValueError, match="--draws 0: use 1 or more"):
        experiment.main(experiment.Arguments(out=tmp_path / "out", study=tmp_path / "study", draws=0))
    assert not any(tmp_path.iterdir())
