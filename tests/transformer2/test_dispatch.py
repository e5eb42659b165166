"""Two passes: who answers what is pass 1's choice, `others` is the base bit for bit, and the report adds up."""

import json

import jax
import numpy as np
import pytest
from toy_tasks import model as toy_model
from toy_tasks import problems

from seal_jax import adapters
from seal_jax.generation import decode
from seal_jax.transformer2 import Attempt, Classifier, Dispatched, Task, attempt, dispatch, expert_bank, make_expert
from seal_jax.transformer2.classify import OTHERS, Sorted
from seal_jax.transformer2.dispatch import answer, report

# The module, which the function of the same name hides in the package.
MODULE = "seal_jax.transformer2.dispatch"


@pytest.fixture(scope="module")
def model():
    return toy_model()


@pytest.fixture(scope="module")
def experts(model):
    factors = adapters.svf.factor(model.params)
    raw = {name: adapters.svf.init(jax.random.key(n), factors, mean=0.0, std=3.0) for n, name in enumerate("ab")}
    return {name: make_expert(adapter, model.params, task=name, base="toy") for name, adapter in raw.items()}


@pytest.fixture(scope="module")
def bank(model, experts):
    return expert_bank(experts, model.params)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("templates") / "short.txt"
    path.write_text("{prompt} \\boxed{")
    return Classifier({"a": "", "b": ""}, str(path), max_new_tokens=4)


def long_enough(problem, completion):
    """Right where the completion is longer than ten characters: some are and some are not."""
    return len(completion) > 10


def task(name, start, count=7):
    return Task(name, (), (), problems(count, start), long_enough, max_new_tokens=6)


@pytest.fixture(scope="module")
def tasks():
    return [task("first", 0), task("second", 100, 5)]


LABELS = {"first": ["a", OTHERS, "b", "a", OTHERS, "b", "a"], "second": [OTHERS, "b", "b", OTHERS, OTHERS]}


@pytest.fixture
def told(monkeypatch):
    """Pass 1 as it is told to be."""
    import sys

    flat = [label for own in LABELS.values() for label in own]
    nothing = Attempt([], "", None, 0.0, True)
    monkeypatch.setattr(sys.modules[MODULE], "classify", lambda *_, **__: Sorted(flat, [nothing] * len(flat)))


def test_each_problem_is_answered_by_its_expert(model, bank, experts, tasks, classifier, told):
    found = dispatch(model, bank, tasks, classifier, rows=4)
    assert found.labels == LABELS
    for one in tasks:
        base = [each[0] for each in attempt(model, one, one.test, rows=4)]
        for row, label in enumerate(LABELS[one.name]):
            got = found.attempts[one.name][row]
            if label == OTHERS:
                assert got == base[row]  # tokens, text, verdict and log-probability, to the last bit
                continue
            adapted = model._replace(params=adapters.attach(model.params, experts[label].adapter, bank.factors))
            [[alone]] = attempt(adapted, one, [one.test[row]])
            assert (got.tokens, got.text, got.correct) == (alone.tokens, alone.text, alone.correct)
            assert got.logprob == pytest.approx(alone.logprob, abs=1e-4)
            assert got.logprob != base[row].logprob


def test_pass_2_has_one_program_for_any_labels(model, bank, tasks):
    one = tasks[0]
    answer(model, bank, one, one.test, ["a", None, "b", "a", None, "b", "a"])
    traced = decode.start._cache_size()
    for which in ("aaaaaaa", "abbbbbb", "bababab"):
        answer(model, bank, one, one.test, list(which))
    answer(model, bank, one, one.test, [None, *"aaaaaa"])
    assert decode.start._cache_size() == traced


def test_a_model_that_never_names_a_label_is_the_base_model(model, bank, tasks, classifier):
    found = dispatch(model, bank, tasks, classifier)
    told = report(found)
    assert told["labels"] == {OTHERS: 12}
    assert told["confusion"] == {"first": {OTHERS: 7}, "second": {OTHERS: 5}}
    assert [len(found.replies[name]) for name in ("first", "second")] == [7, 5]
    for one in tasks:
        assert found.attempts[one.name] == [each[0] for each in attempt(model, one, one.test)]


def test_an_expert_may_sort(model, bank, experts, tasks, classifier):
    by_base = dispatch(model, bank, tasks[:1], classifier)
    by_expert = dispatch(model, bank, tasks[:1], classifier, expert=experts["b"])
    assert [r.text for r in by_expert.replies["first"]] != [r.text for r in by_base.replies["first"]]


def graded(*verdicts):
    return [Attempt([1], "x", verdict, -1.0, True) for verdict in verdicts]


def test_the_report_by_hand():
    labels = {"sums": ["a", "a", OTHERS, "b"], "songs": [OTHERS]}
    attempts = {"sums": graded(True, False, None, True), "songs": graded(False)}
    found = report(Dispatched(labels, attempts, attempts, first=1.0, second=3.0))
    assert found["labels"] == {"a": 2, "b": 1, OTHERS: 2}
    assert found["confusion"] == {"sums": {"a": 2, "b": 1, OTHERS: 1}, "songs": {"a": 0, "b": 0, OTHERS: 1}}
    assert found["seconds"] == {"first": 1.0, "second": 3.0, "first_share": 0.25}
    scores = found["accuracy"]
    assert scores["sums"]["accuracy"] == pytest.approx(2 / 3)
    assert scores["sums"]["stderr"] == pytest.approx(np.std([1, 0, 1], ddof=1) / np.sqrt(3))
    assert scores["songs"] == {"accuracy": 0.0, "stderr": None, "problems": 1}
    assert scores["weighted"]["accuracy"] == pytest.approx(2 / 4)
    assert json.loads(json.dumps(found)) == found


def test_problems_of_ones_own(model, bank, tasks, classifier, told, monkeypatch):
    few = {"first": tasks[0].test, "second": tasks[1].test[:5]}
    found = dispatch(model, bank, tasks, classifier, problems=few)
    assert {name: len(own) for name, own in found.attempts.items()} == {"first": 7, "second": 5}


def test_bad_requests(model, bank, tasks, classifier):
    with pytest.raises(ValueError, match="label 'c' is no expert; experts are a, b"):
        dispatch(model, bank, tasks, Classifier({"c": ""}))
    with pytest.raises(ValueError, match="tasks are named first, first"):
        dispatch(model, bank, [tasks[0], tasks[0]], classifier)
    with pytest.raises(ValueError, match="problems are of the tasks third, and the tasks are first, second"):
        dispatch(model, bank, tasks, classifier, problems={"third": []})
