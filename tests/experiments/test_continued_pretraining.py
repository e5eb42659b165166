"""`experiments.continued_pretraining` on a few people: what is chosen, what is counted, and that a run goes on."""

import json

import pytest

from experiments import continued_pretraining as experiment

WAYS = {
    "one full passages": ((3e-3, 1), (3e-4, 1)),
    "one full self-edits": ((3e-4, 1),),
    "each full self-edits": ((3e-4, 1),),
}


@pytest.mark.slow
def test_on_a_few_people(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(experiment, "WAYS", WAYS)
    monkeypatch.setattr(experiment, "PAIRS", [("one full self-edits", "one full passages")])
    args = experiment.Arguments(tmp_path, tuning=2, people=(2,), edits=1)
    found = experiment.main(args)
    assert {**experiment.main(args), "seconds": 0} == {**found, "seconds": 0}
    rates = found["chosen"]["one full passages"]
    assert rates["chosen"] == rates["tried"][rates["accuracy"].index(max(rates["accuracy"]))]
    base, *trained, difference = found["rows"]
    assert (base["fine-tune"], base["gained"], base["lost"]) == ("base", 0, 0)
    assert base["known people"] > 0.9
    for row, name in zip(trained, WAYS, strict=True):
        assert row["fine-tune"] == name
        assert 12 * (row["accuracy"] - base["accuracy"]) == pytest.approx(row["gained"] - row["lost"])
        assert ("known people" in row) == name.startswith("one")
    assert difference["difference"] == pytest.approx(trained[1]["accuracy"] - trained[0]["accuracy"])
    assert json.loads((tmp_path / "result.json").read_text())["rows"] == found["rows"]
    assert "one full self-edits" in capsys.readouterr().out
