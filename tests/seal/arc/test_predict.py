"""Answers turned back, voted and scored; queries that fit; trials that go wrong."""

import dataclasses
from types import SimpleNamespace

import micro_arc
import numpy as np
import pytest
from micro_arc import SEED, SETTINGS, edit, task

from seal_jax.data.arc import Example, Task, grid_text
from seal_jax.data.arc.augment import apply
from seal_jax.data.arc.grids import flip, rotate, transpose
from seal_jax.seal.arc import policy, predict, study, trials
from seal_jax.seal.arc.schema import Refused
from seal_jax.seal.arc.texts import Posed, Texts
from seal_jax.seal.arc.trials import Trial
from seal_jax.seal.inner_loop import Memory

HOW = SETTINGS.prediction
A, B, C = ((1, 2), (3, 4)), ((1, 2), (3, 5)), ((9,),)


def posed(tests, inverses):
    return Posed([[1]] * len(tests), [1] * len(tests), list(tests), list(inverses))


def test_answers_are_turned_back_before_they_vote():
    """A rotated, a flipped and a plain answer agree once their augmentation is undone; another disagrees."""
    puzzle = Task("t", (Example(A, B),), (Example(A, A),))
    forms = [None, rotate(90), flip(0), transpose(), None]
    texts = [grid_text(A if form is None else form(A)) + "#" for form in forms[:4]] + [grid_text(B)]
    asked = posed([0] * 5, [None if form is None else form.inverse for form in forms])
    found = predict.judge(puzzle, asked, texts, HOW)
    assert found["attempts"] == [[[list(r) for r in A], [list(r) for r in B]]]
    assert (found["solved"], found["correct"], found["cells"], found["read"], found["queries"]) == (
        [True],
        True,
        1,
        5,
        5,
    )
    single = predict.judge(puzzle, asked, texts[::-1], HOW, single=True)
    assert single["attempts"] == [[[list(r) for r in B], None]]
    assert (single["correct"], single["cells"]) == (False, 0.75)


def test_every_test_has_to_be_solved_by_one_of_two_attempts():
    assert predict.score([A, B], [(B, A), (B, None)]) == {"solved": [True, True], "correct": True, "cells": 1}
    assert predict.score([A, B], [(A, A), (A, C)])["correct"] is False
    assert predict.score([A, B], [(A, A), (A, C)])["cells"] == 0.875
    assert predict.score([A], [(C, None)])["cells"] == 0  # another size
    assert predict.score([A, None], [(A, None), (B, None)]) == {"solved": [True, None], "correct": None, "cells": None}


def test_unreadable_answers_are_passed_over():
    puzzle = Task("t", (Example(A, B),), (Example(A, A), Example(B, None)))
    found = predict.judge(puzzle, posed([0, 0, 1], [None] * 3), ["", "[[1 x]]", "nothing"], HOW)
    assert found["attempts"] == [[None, None], [None, None]]
    assert (found["read"], found["solved"], found["correct"]) == (0, [False, None], None)
    nothing = predict.nothing(puzzle)
    assert {**nothing, "queries": 3} == found


def test_queries_hide_the_answer_and_fit_the_context(arc_model, arc_texts):
    puzzle = task(0, tests=2)
    found = arc_texts.queries(puzzle)
    assert set(found.tests) == {0, 1}
    for prompt, limit, test, inverse in zip(*found):
        text = arc_model.tokenizer.decode(prompt)
        assert text.endswith("-> ")
        assert (limit, text.count("#")) == (HOW.max_new_tokens, 2)  # leave one of three out
        if inverse is None:
            assert grid_text(puzzle.tests[test].input) in text
    short = Texts(arc_model.tokenizer, 80, SETTINGS, SEED)
    assert {arc_model.tokenizer.decode(p).count("#") for p in short.queries(puzzle).prompts} == {1}  # leave-2
    assert all(len(p) + 19 < 80 for p in short.queries(puzzle).prompts)  # with an answer of the usual size
    none = Texts(arc_model.tokenizer, 30, SETTINGS, SEED)
    assert none.queries(puzzle).prompts == []
    assert "its edit prompt takes" in none.obstacle(puzzle)
    assert arc_texts.obstacle(puzzle) is None
    plain = arc_texts.queries(puzzle, augmented=False)
    assert [arc_model.tokenizer.decode(p).count("#") for p in plain.prompts] == [3, 3]


def test_the_length_of_queries_is_limited_by_name(arc_model, arc_texts):
    """A limit of 80 leaves the queries that a context of 80 does; the released 8192 comes with the released rules."""
    limited = dataclasses.replace(SETTINGS, prediction=dataclasses.replace(HOW, max_length=80))
    texts = Texts(arc_model.tokenizer, 512, limited, SEED)
    assert texts.queries(task(0)) == Texts(arc_model.tokenizer, 80, SETTINGS, SEED).queries(task(0))
    assert texts.queries(task(0)) != arc_texts.queries(task(0))
    tight = dataclasses.replace(SETTINGS, prediction=dataclasses.replace(HOW, max_length=20))
    assert "no query of test 0 fits 20 tokens" in Texts(arc_model.tokenizer, 512, tight, SEED).obstacle(task(0))
    released = dataclasses.replace(HOW, rules="reference")
    assert [how.length(131_072) for how in (HOW, released)] == [131_072, 8192]
    assert [how.length(2048) for how in (HOW, released)] == [2048, 2048]
    assert dataclasses.replace(released, max_length=16_384).length(131_072) == 16_384
    with pytest.raises(ValueError, match="max_length 0: use 1 or more"):
        dataclasses.replace(HOW, max_length=0)


def test_released_answers_may_take_what_is_left_of_8192_tokens(arc_model):
    """With the released rules and no limit of its own, an answer has 8192 tokens less its prompt."""
    how = dataclasses.replace(HOW, rules="reference", max_new_tokens=8192)
    texts = Texts(arc_model.tokenizer, 131_072, dataclasses.replace(SETTINGS, prediction=how), SEED)
    posed = texts.queries(task(0))
    assert posed.limits == [8192 - len(prompt) for prompt in posed.prompts]


def test_sequences_do_not_know_the_tests(arc_texts):
    puzzle = task(0)
    other = puzzle._replace(tests=(Example(C, C),))
    one, two = arc_texts.sequences(puzzle, ("basic",)), arc_texts.sequences(other, ("basic",))
    assert all(np.array_equal(a, b) for a, b in zip(one.tokens, two.tokens, strict=True))
    assert len(one.tokens) == SETTINGS.ttt.max_sequences
    assert arc_texts.sequences(puzzle, ("basic",)) is one  # rendered once


@pytest.fixture(scope="module")
def any_rate(arc_model):
    """Texts whose settings allow any learning rate, so that a fine-tune can diverge."""
    ttt = dataclasses.replace(SETTINGS.ttt, max_learning_rate=3.4e38)
    return Texts(arc_model.tokenizer, 512, dataclasses.replace(SETTINGS, ttt=ttt), SEED)


@pytest.fixture(scope="module")
def tried(arc_model, any_rate):
    rows = [
        Trial(task(0), edit(rate=5e-2)),
        Trial(task(0), edit(epochs=0)),
        Trial(task(0), edit(rate=3e38, epochs=1)),
        Trial(task(0), Refused("not JSON")),
        Trial(task(0), edit(epochs=300)),
        Trial(task(1), edit(rate=5e-2)),
        Trial(task(0), edit(rate=5e-2)),
    ]
    store, progress = Memory(), []
    return rows, trials.run_trials(arc_model, rows, any_rate, store, progress.append), store, progress


def test_bad_edits_score_as_such(arc_model, arc_texts, tried):
    rows, found, _, progress = tried
    assert [o["steps"] for o in found] == [6, 0, 3, 0, 0, 6, 6]
    assert [o["diverged"] for o in found] == [False, False, True, False, False, False, False]
    assert [bool(o["refused"]) for o in found] == [False, False, False, True, True, False, False]
    assert found[4]["refused"] == "300 epochs of 5 sequences are 900 steps; 375 allowed"
    assert found[2]["loss"] is None
    assert all(o["correct"] is False for o in found)
    assert found[0] == found[6]  # one fine-tune
    assert sum(progress) == len(rows)
    [over] = trials.run_trials(arc_model, rows[2:3], arc_texts)
    assert (over["refused"], over["steps"]) == ("a learning rate of 3e+38; up to 1 allowed", 0)


def test_no_epochs_are_the_model_itself(arc_model, arc_texts, tried):
    [alone] = trials.ask(arc_model, [task(0)], arc_texts)
    assert {k: tried[1][1][k] for k in alone} == alone
    assert alone["queries"] == 8


def test_a_resumed_run_asks_what_is_missing(arc_model, arc_texts, monkeypatch):
    """Two queries at once: what is there already is kept, a batch with a gap is decoded whole, progress is in tasks."""
    how = dataclasses.replace(arc_texts.settings.prediction, rows=2)
    posed = [arc_texts.queries(task(n)) for n in range(2)] + [Posed([], [], [], [])]
    names, decoded = ["a", "b", "c"], []
    generate = lambda *args, **_: decoded.append(args[2]) or SimpleNamespace(texts=[str(ids) for ids in args[2]])  # noqa: E731
    monkeypatch.setattr(predict.generation, "generate", generate)
    store, progress = Memory(), []
    found = predict.answer(arc_model, posed, how, names, store, progress.append)
    assert found == [[str(ids) for ids in one.prompts] for one in posed]
    assert (len(decoded), sum(progress)) == (8, 3)
    partly = Memory()
    for name, one in zip(names, posed):
        for q in range(len(one.prompts)):
            if (name, q) != ("b", 3):
                partly.add(f"{name}/{q}", "kept")
    decoded.clear()
    again = predict.answer(arc_model, posed, how, names, partly)
    [batch] = decoded
    assert posed[1].prompts[3] in batch
    assert len(batch) == 2
    assert again == [["kept"] * 8, [*["kept"] * 3, str(posed[1].prompts[3]), *["kept"] * 4], []]


def test_two_tasks_of_one_id_are_refused(arc_model, arc_texts):
    """Results are kept by id: without this the second task would silently have those of the first."""
    one, other = task(0), task(1)._replace(id="task0")
    for call in (
        lambda: trials.run_trials(arc_model, [Trial(one, edit()), Trial(other, edit())], arc_texts),
        lambda: trials.ask(arc_model, [one, other], arc_texts),
        lambda: policy.write_edits(arc_model, [one, other], arc_texts, 1, SEED),
        lambda: study._check_disjoint([[one, other]], [task(5)]),
        lambda: study._check_disjoint([], [one, other]),
    ):
        with pytest.raises(ValueError, match="two different tasks have the id 'task0'"):
            call()


def test_a_resumed_run_trains_what_is_missing(arc_model, any_rate, tried, monkeypatch):
    rows, found, store, _ = tried
    sizes, run = [], trials._run_group
    monkeypatch.setattr(trials, "_run_group", lambda *a: sizes.append(len(a[1])) or run(*a))
    partly, kept = Memory(), {"marked": True}
    for row in rows:
        if trials.key(row) != trials.key(rows[2]):
            partly.add(trials.key(row), kept if row is rows[5] else store[trials.key(row)])
    again = trials.run_trials(arc_model, rows, any_rate, partly)
    assert sizes == [2]  # the group that the missing one belongs to, and whole
    assert again == [kept if i == 5 else o for i, o in enumerate(found)]


def test_reference_rules_train_too_many_steps_not_at_all(arc_model, arc_texts):
    settings = dataclasses.replace(SETTINGS, edits=dataclasses.replace(SETTINGS.edits, rules="reference"))
    texts = Texts(arc_model.tokenizer, 512, settings, SEED)
    assert trials.admitted(edit(epochs=300), task(0), texts) == edit(epochs=0)
    assert trials.admitted(edit(epochs=3), task(0), texts) == edit(epochs=3)
    assert isinstance(trials.admitted(edit(epochs=300), task(0), arc_texts), Refused)


def test_the_transformed_answer_is_the_transform_of_the_answer():
    """What the model has to write under a query's augmentation, taken back, is the test's output."""
    puzzle = task(3)
    for form in (rotate(90), rotate(180), flip(0), flip(1), transpose()):
        turned = apply(form, puzzle)
        assert form.inverse(turned.tests[0].output) == puzzle.tests[0].output
    assert micro_arc.task(3) == puzzle
