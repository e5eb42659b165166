"""A whole study on a tiny random model: every figure of its result recomputed from what it wrote on the way."""

import dataclasses
import json
import math
import statistics

import micro_study
import pytest

from seal_jax.data.squad import Passage
from seal_jax.runtime import Run
from seal_jax.runtime.files import read_json
from seal_jax.seal import policy, rest_em
from seal_jax.seal.answers import ask
from seal_jax.seal.edits import training_sequences
from seal_jax.seal.inner_loop import Trial, run_trials
from seal_jax.seal.study import study

TEST = micro_study.passages(micro_study.TEST)
TRAIN = micro_study.passages(micro_study.TRAIN, micro_study.TEST)
SEED = micro_study.SEED
CONDITIONS = ["base", "with_passage", "passage_only", "round_0", "other_passage", "oracle", "round_1"]
CONDITIONS += ["last_edits_first_model", "random_edits"]
PAIRS = [("round_1", "round_0"), ("round_1", "random_edits"), ("round_1", "last_edits_first_model")]
PAIRS += [("random_edits", "round_0"), ("round_0", "base"), ("round_0", "passage_only"), ("round_0", "other_passage")]


def stage(micro, name):
    return read_json(micro[0] / "stages" / f"{name}.json")["value"]


def by_passage(micro, name, field):
    return [statistics.fmean(map(float, outcome[field])) for outcome in stage(micro, f"evaluation/{name}")]


def test_everything_is_reported(micro):
    _, result = micro
    assert sorted(result) == sorted([*CONDITIONS, "differences", "rounds", "seconds"])
    assert list(result["differences"]) == [f"{a} - {b}" for a, b in PAIRS]
    assert len(result["rounds"]) == 1
    assert {f"evaluation/{name}" for name in CONDITIONS} <= set(result["seconds"])
    assert {f"round_1/{part}" for part in ("edits", "trials", "selection", "policy")} <= set(result["seconds"])


@pytest.mark.parametrize("name", CONDITIONS)
def test_figures_are_means_over_passages(micro, name):
    entry = micro[1][name]
    assert entry["passages"] == 3
    assert entry["questions"] == 6
    assert entry["diverged"] == 0
    for field, mean, error in (("correct", "accuracy", "stderr"), ("loglik", "loglik", "loglik_stderr")):
        values = by_passage(micro, name, field)
        assert entry[mean] == pytest.approx(statistics.fmean(values), abs=1e-9)
        assert entry[error] == pytest.approx(statistics.stdev(values) / 3**0.5, abs=1e-9)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_differences_are_paired_by_passage(micro, one, other):
    for field, key in (("correct", "accuracy"), ("loglik", "loglik")):
        gaps = [a - b for a, b in zip(by_passage(micro, one, field), by_passage(micro, other, field))]
        found = micro[1]["differences"][f"{one} - {other}"][key]
        assert found["difference"] == pytest.approx(statistics.fmean(gaps), abs=1e-9)
        assert found["stderr"] == pytest.approx(statistics.stdev(gaps) / 3**0.5, abs=1e-9)


def tried(model, edits, settings, shift=0):
    """Outcomes on the test passages after adapting to `edits`, with the draws of an evaluation."""
    texts = [training_sequences(e, p.title, p.context) for e, p in zip(edits, TEST)]
    trials = [Trial(str(i), texts[(i + shift) % len(texts)], p, seed=2000 + SEED, item=i) for i, p in enumerate(TEST)]
    return run_trials(model, trials, settings.inner, settings.answering)


def write(model, settings):
    one = dataclasses.replace(settings.edits, count=1)
    return [texts[0] for texts in policy.write_edits(model, TEST, one, 2000 + SEED)]


def test_what_the_untrained_model_learns_from(micro, tiny, settings):
    assert stage(micro, "evaluation/base") == ask(tiny, TEST, settings.answering)
    assert stage(micro, "evaluation/with_passage") == ask(tiny, TEST, settings.answering, show_passage=True)
    assert stage(micro, "evaluation/passage_only") == tried(tiny, [""] * 3, settings)
    edits = write(tiny, settings)
    assert stage(micro, "evaluation/round_0-edits") == [[e] for e in edits]
    assert stage(micro, "evaluation/round_0") == tried(tiny, edits, settings)
    assert stage(micro, "evaluation/other_passage") == tried(tiny, edits, settings, shift=1)
    assert [o["steps"] for o in stage(micro, "evaluation/passage_only")] == [2, 2, 2]
    assert len({micro[1][name]["loglik"] for name in CONDITIONS}) == len(CONDITIONS)


def test_the_best_edits_are_chosen_and_the_policy_trained_on_them(micro, tiny, settings):
    written = stage(micro, "round_1/edits")
    assert written == policy.write_edits(tiny, TRAIN, settings.edits, SEED)
    trials = iter(stage(micro, "round_1/trials"))
    rewards = [[statistics.fmean(next(trials)["loglik"]) for _ in texts] for texts in written]
    best = [row.index(max(row)) for row in rewards]
    assert best != [0, 0]  # so that a first-come choice would show
    rows = [json.loads(line) for line in (micro[0] / "stages" / "round_1" / "sft.jsonl").read_text().splitlines()]
    prompts = policy.prompts(tiny, TRAIN, settings.edits)
    assert rows == [{"prompt": p, "completion": t[b]} for p, t, b in zip(prompts, written, best)]
    [report] = micro[1]["rounds"]
    flat = [r for row in rewards for r in row]
    assert report["mean"] == pytest.approx(statistics.fmean(flat))
    assert report["std"] == pytest.approx(statistics.pstdev(flat))
    assert report["quantiles"] == pytest.approx([min(flat), *statistics.quantiles(flat, method="inclusive"), max(flat)])
    assert (report["edits"], report["diverged"]) == (4, 0)
    before = stage(micro, "round_1/trials-before")
    assert report["before"] == pytest.approx(statistics.fmean(statistics.fmean(o["loglik"]) for o in before))
    assert report["selection"]["selected"] == pytest.approx(statistics.fmean(map(max, rewards)))
    again = [statistics.fmean(o["loglik"]) for o in stage(micro, "round_1/fresh")]
    assert report["selection"]["fresh"] == pytest.approx(statistics.fmean(again))
    assert again != pytest.approx(list(map(max, rewards)), abs=1e-4)  # another seed

    adapter, losses = policy.improve(tiny, rows, settings.policy, SEED)
    logged = [json.loads(line) for line in (micro[0] / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in logged if row["stage"] == "round_1/policy"] == losses
    learner = policy.merge(tiny, adapter)
    edits = write(learner, settings)
    assert edits != write(tiny, settings)
    assert stage(micro, "evaluation/round_1-edits") == [[e] for e in edits]
    assert stage(micro, "evaluation/round_1") == tried(learner, edits, settings)
    assert stage(micro, "evaluation/last_edits_first_model") == tried(tiny, edits, settings)


def test_the_control_learns_from_as_many_random_edits(micro, tiny, settings):
    written = stage(micro, "random_1/edits")
    assert written == stage(micro, "round_1/edits")  # of the same edits
    chosen = rest_em.random_choice(written, [1, 1], SEED)
    rows = rest_em.sft_rows(policy.prompts(tiny, TRAIN, settings.edits), written, chosen)
    assert len(rows) == 2
    learner = policy.merge(tiny, policy.improve(tiny, rows, settings.policy, SEED)[0])
    edits = write(learner, settings)
    assert stage(micro, "evaluation/random_edits") == tried(learner, edits, settings)


def test_a_finished_study_is_read_and_not_done_again(micro, settings, monkeypatch):
    monkeypatch.setattr(policy, "write_edits", None)
    monkeypatch.setattr(policy, "improve", None)
    again = read_json(micro_study.run(micro[0]))
    assert again == micro[1]


def test_other_settings_are_refused(micro, settings):
    other = dataclasses.replace(settings, inner=dataclasses.replace(settings.inner, epochs=9))
    with pytest.raises(ValueError, match=r"inner\.epochs was 2, now 9"):
        micro_study.run(micro[0], other)


def test_two_rounds_without_control_or_oracle(tmp_path, tiny, settings):
    """The second round starts from the policy of the first; a round may have any number of passages."""
    rounds = [micro_study.passages(2, start) for start in (20, 30)]
    with Run(tmp_path, settings) as run:
        result = study(run, tiny, rounds, TEST, settings, SEED, control=False)
    assert {"round_0", "round_1", "round_2"} < set(result)
    assert not {"oracle", "random_edits"} & set(result)
    assert "round_2 - round_0" in result["differences"]
    assert not any("random" in pair for pair in result["differences"])
    assert len(result["rounds"]) == 2
    first = policy.merge(tiny, run.stage("round_1/policy", lambda: None, kind="tree"))
    written = read_json(tmp_path / "stages" / "round_2" / "edits.json")["value"]
    assert written == policy.write_edits(first, rounds[1], settings.edits, SEED)
    assert all(math.isfinite(result[name]["loglik"]) for name in ("round_1", "round_2"))


def test_overlapping_sets_are_refused(tmp_path, tiny, settings):
    [one, other] = micro_study.passages(2, 40)
    same_text = Passage("Another title", one.context, other.questions)
    for train, test, message in (
        ([[one]], [other, same_text], "passage 'Another title' is in round 1 and in the test set; split them"),
        ([[one], [other, one]], [], f"passage '{one.title}' is in round 1 and in round 2; split them"),
    ):
        with Run(tmp_path, settings) as run, pytest.raises(ValueError, match=message):
            study(run, tiny, train, test, settings)
    assert not (tmp_path / "stages").exists()  # nothing was spent
