"""Rounds and evaluations on outcomes laid out by hand: what is chosen, what is trained on, what diverged."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest

from seal_jax import adapters
from seal_jax.runtime import Run
from seal_jax.seal import knowledge, policy
from seal_jax.seal.knowledge import compare, summary

NAN = float("nan")
# Verdicts of two questions after each of three edits (two seeds each), and before any: by passage.
CORRECT = [
    ([[1, 0], [0, 0]], [[1, 1], [0, 0]], [[1, 1], [1, 0]]),  # means 0.25, 0.5, 0.75
    ([[1, 1], [1, 1]], [[1, 1], [1, 1]], [[0, 0], [0, 1]]),  # 1, 1, 0.25
    ([[0, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [0, 0]]),  # 0, 0.25, 0
]
CORRECT_BEFORE = [[1, 0], [1, 0], [1, 0]]  # 0.5 each
LOGLIK = [
    ([[-3, -3], [-3, -3]], [[-1, -1], [-1, -2]], [[-2, -2], [-2, -2]]),  # -3, -1.25, -2
    ([[-4, -4], [-4, -4]], [[-9, -9], [-9, -9]], [[-4, -4], [-4, -3]]),  # -4, -9, -3.75
    ([[-5, -5], [-5, NAN]], [[-8, -8], [-8, -8]], [[-7, -7], [-7, -7]]),  # diverged, -8, -7
]
LOGLIK_BEFORE = [[-2, -2], [-5, -5], [-6, -6]]
EDITS = [["a0", "a1", "a2"], ["b0", "b1", "b2"], ["c0", "c1", "c2"]]


@pytest.fixture
def world(monkeypatch, tiny):
    """Stages that read the tables above instead of running a model, and what they were asked for."""
    seen = {"trials": [], "rows": []}

    def run_trials(model, trials, inner, answering, store, on_progress):
        seen["trials"].append(list(trials))
        return [outcome(t) for t in trials]

    def outcome(trial):
        p, e = next((p, texts.index(t)) for p, texts in enumerate(EDITS) for t in [last(trial)] if t in texts)
        s = trial.seed % 2
        return {"answers": ["", ""], "correct": [bool(c) for c in CORRECT[p][e][s]], "loglik": LOGLIK[p][e][s]}

    def last(trial):
        return trial.texts[0].split("\n")[1]

    def ask(model, passages, answering, show_passage, on_progress):
        order = [number(p) for p in passages]
        return [{"correct": [bool(c) for c in CORRECT_BEFORE[p]], "loglik": LOGLIK_BEFORE[p]} for p in order]

    def improve(model, rows, *_):
        seen["rows"].append(rows)
        if not rows:
            raise ValueError("no edit was selected")
        return adapters.lora.init(jax.random.key(0), tiny.params, 2, 4.0), [1.0]

    monkeypatch.setattr(knowledge, "run_trials", run_trials)
    monkeypatch.setattr(knowledge, "ask", ask)
    monkeypatch.setattr(policy, "write_edits", lambda model, passages, *_: [EDITS[number(p)] for p in passages])
    monkeypatch.setattr(policy, "improve", improve)
    return seen


@pytest.fixture
def people(passages):
    found = passages(3)
    number.order = [p.title for p in found]
    return found


def number(passage):
    return number.order.index(passage.title)


def trained_on(world):
    return [row["completion"] for row in world["rows"][-1]]


@pytest.mark.parametrize(
    ("reward", "select", "k_best", "chosen"),
    [
        ("accuracy", "best", 1, ["a2", "b0", "c1"]),  # the first of equals
        ("accuracy", "best", 2, ["a2", "a1", "b0", "b1", "c1", "c0"]),
        ("loglik", "best", 1, ["a1", "b2", "c2"]),  # c0 diverged
        ("loglik", "best", 3, ["a1", "a2", "a0", "b2", "b0", "b1", "c2", "c1"]),
        ("binary", "best", 1, ["a2", "b0", "c0"]),  # nothing helps c: the first of equals
        ("accuracy", "positive", 1, ["a2", "b0", "b1"]),  # all that is above before, whatever k_best
        ("binary", "positive", 1, ["a2", "b0", "b1"]),  # the paper's equation
        ("loglik", "positive", 1, ["a1", "b2", "b0"]),  # a2 is as good as no edit, not better
    ],
)
def test_selection(world, people, tiny, settings, tmp_path, reward, select, k_best, chosen):
    how = dataclasses.replace(settings, reward=reward, select=select, k_best=k_best, seeds=2)
    with Run(tmp_path, how) as run:
        learner, report = knowledge.train_round(run, "round_1", tiny, people, how, seed=4)
    assert trained_on(world) == chosen
    prompts = dict(zip([texts[0][0] for texts in EDITS], policy.prompts(tiny, people, how.edits)))
    assert [row["prompt"] for row in world["rows"][0]] == [prompts[text[0]] for text in chosen]
    assert [EDITS[p][e] for p, indices in enumerate(report["chosen"]) for e in indices] == chosen
    assert learner.tokenizer is tiny.tokenizer


def test_what_a_round_reports(world, people, tiny, settings, tmp_path):
    how = dataclasses.replace(settings, reward="loglik", seeds=2)
    with Run(tmp_path, how) as run:
        _, report = knowledge.train_round(run, "round_1", tiny, people, how, seed=4)
    finite = [-3, -1.25, -2, -4, -9, -3.75, -8, -7]
    assert (report["reward"], report["edits"], report["diverged"]) == ("loglik", 9, 1)
    assert report["mean"] == pytest.approx(np.mean(finite))
    assert report["std"] == pytest.approx(np.std(finite))
    assert report["quantiles"] == pytest.approx(np.quantile(finite, [0, 0.25, 0.5, 0.75, 1]))
    assert report["before"] == pytest.approx((-2 - 5 - 6) / 3)
    assert report["rewards"][2] == [None, -8.0, -7.0]
    tried, again = world["trials"]
    assert [t.seed for t in tried] == [4, 5] * 9
    assert len({(t.seed, t.item) for t in tried}) == 18  # every fine-tune is another draw
    assert [t.seed for t in again] == [1004] * 3  # the chosen ones once more, on a seed not used before
    assert [t.texts[0].split("\n")[1] for t in again] == ["a1", "b2", "c2"]
    # Seed 1004 reads the tables' first row: -1, -4, -7.
    assert report["selection"]["selected"] == pytest.approx((-1.25 - 3.75 - 7) / 3)
    assert report["selection"]["fresh"] == pytest.approx((-1 - 4 - 7) / 3)


def test_a_round_without_any_good_edit_says_so(world, people, tiny, settings, tmp_path, monkeypatch):
    """The report is kept; the policy cannot be trained, and the error says what to do."""
    how = dataclasses.replace(settings, reward="accuracy", select="positive", seeds=2)
    monkeypatch.setitem(globals(), "CORRECT_BEFORE", [[1, 1]] * 3)
    with Run(tmp_path, how) as run, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="no edit was selected"):
            knowledge.train_round(run, "round_1", tiny, people, how, seed=4)
        report = run.stage("round_1/selection", lambda: None)
    assert report["chosen"] == [[], [], []]
    assert report["selection"] is None
    assert (tmp_path / "stages" / "round_1" / "sft.jsonl").read_bytes() == b""


def test_blank_edits_are_never_trained_on(world, people, tiny, settings, tmp_path, monkeypatch):
    how = dataclasses.replace(settings, reward="loglik", k_best=3, seeds=2)
    monkeypatch.setattr(policy, "write_edits", lambda *_: [["a0", " \n", ""], ["", "", "b1"], ["", "", ""]])
    monkeypatch.setattr(
        knowledge, "run_trials", lambda model, trials, *_: [{"correct": [True], "loglik": [-1.0]} for _ in trials]
    )
    with Run(tmp_path, how) as run:
        knowledge.train_round(run, "round_1", tiny, people, how, seed=4)
        assert trained_on(world) == ["a0", "b1"]
        knowledge.random_round(run, "random_1", tiny, people, how, 4, [1, 1, 1])
        assert trained_on(world) == ["a0", "b1"]


def test_a_random_round_takes_as_many_of_the_same_edits(world, people, tiny, settings, tmp_path):
    counts = [2, 0, 1]
    with Run(tmp_path, settings) as run:
        knowledge.random_round(run, "random_1", tiny, people, settings, 4, counts)
        first = trained_on(world)
        knowledge.random_round(run, "random_2", tiny, people, settings, 5, counts)
    assert [text[0] for text in first] == ["a", "a", "c"]
    assert len(set(first)) == 3
    assert trained_on(world) != first  # another seed
    assert world["trials"] == []  # never tried


def test_evaluation_asks_for_one_edit_a_passage(world, people, tiny, settings, tmp_path):
    with Run(tmp_path, {}) as run, pytest.raises(ValueError, match="2 edits for 3 passages: give one for each"):
        knowledge.evaluate(run, "x", tiny, people, settings, 0, edits=["a", "b"])


def outcome(correct, loglik):
    return {"answers": [""] * len(correct), "correct": correct, "loglik": loglik}


def test_summaries_are_of_passages():
    """However many questions a passage has, it counts once; without any it does not count."""
    found = summary([outcome([True], [-1.0]), outcome([], []), outcome([True, False, False, False], [-2, -4, -4, -6])])
    assert found["accuracy"] == pytest.approx((1 + 0.25) / 2)
    assert found["stderr"] == pytest.approx(np.std([1, 0.25], ddof=1) / 2**0.5)
    assert found["loglik"] == pytest.approx((-1 - 4) / 2)
    assert (found["passages"], found["questions"], found["diverged"]) == (2, 5, 0)
    assert found["by_passage"] == {"accuracy": [1.0, 0.25], "loglik": [-1.0, -4.0]}
    alone = summary([outcome([True], [-1.0])])
    assert alone["accuracy"] == 1.0
    assert np.isnan(alone["stderr"])  # one passage says nothing about the spread of others
    with pytest.raises(ValueError, match="none of the passages has a question"):
        summary([outcome([], [])])


@pytest.mark.parametrize("lost", [None, NAN])
def test_diverged_passages_have_no_log_likelihood(lost):
    one = summary([outcome([False], [lost]), outcome([True], [-1.0]), outcome([True], [-3.0]), outcome([True], [-4.0])])
    assert one["accuracy"] == 0.75
    assert one["loglik"] == pytest.approx(-8 / 3)
    assert one["loglik_stderr"] == pytest.approx(np.std([1, 3, 4], ddof=1) / 3**0.5)
    assert one["diverged"] == 1
    other = summary([outcome([True], [-2.0]), outcome([True], [-2.0]), outcome([False], [lost]), outcome([True], [-3])])
    assert compare(one, other, "loglik") == {"difference": 0.0, "stderr": 1.0}  # of the second and the last
    assert compare(one, other)["difference"] == 0.0
    nothing = summary([outcome([False], [lost])] * 4)
    assert np.isnan(nothing["loglik"])
    assert np.isnan(compare(nothing, other, "loglik")["difference"])


def test_comparing_different_passages_is_refused():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        compare(summary([outcome([True], [0.0])] * 3), summary([outcome([True], [0.0])] * 2))
