"""Sorting prompts: what is asked, how a reply is read, and the task that an expert for it is trained on."""

import jax
import numpy as np
import pytest
from toy_tasks import model as toy_model
from toy_tasks import problems

from seal_jax import adapters
from seal_jax.data.problems import Problem
from seal_jax.transformer2 import Classifier, Task, classification_task, classify, make_expert
from seal_jax.transformer2.attempts import attempt
from seal_jax.transformer2.classify import OTHERS, read_label, request

LABELS = ("math", "Code", "common_sense", OTHERS)
KNOWN = {"math": "a number is asked for", "code": "a program is asked for"}


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        (r"\boxed{math}", "math"),
        (r"It needs numbers, so \boxed{ Math }.", "math"),
        (r"\boxed {CODE}", "Code"),
        (r"$\boxed{\text{math}}$", "math"),
        (r"\boxed{\mathrm{Code}.}", "Code"),
        (r"\boxed{'math'}", "math"),
        (r"\boxed{common\_sense}", "common_sense"),
        ("\\boxed{\n**code**\n}", "Code"),
        (r"Not \boxed{code}, but \boxed{math}", "math"),
        (r"\boxed{code} then \boxed{math", "Code"),  # the last closed one
        (r"\boxed{others}", OTHERS),
        (r"\boxed{mathematics}", OTHERS),
        (r"\boxed{math and code}", OTHERS),
        (r"\boxed{math, code}", OTHERS),
        (r"\boxed{math} or \boxed{}", OTHERS),
        (r"\boxed{math", OTHERS),
        ("math", OTHERS),
        ("{math}", OTHERS),
        ("", OTHERS),
        ("}}}{{{ \\boxed \\boxed{{{", OTHERS),
    ],
)
def test_the_label_is_in_the_last_box(reply, label):
    assert read_label(reply, LABELS) == label


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("math}", "math"),
        (" Code } and \\boxed{math}", "Code"),
        ("\\text{math}}", "math"),
        ("math", OTHERS),  # cut off: it may have been "mathematics"
        ("} \\boxed{math}", OTHERS),
        ("", OTHERS),
    ],
)
def test_a_box_that_the_prompt_opened_is_closed_by_the_reply(reply, label):
    assert read_label(reply, LABELS, opened=True) == label


def test_the_shipped_base_form():
    found = Classifier(KNOWN)
    text = found.prompt(Problem("1", "What is {x} + 2?", "3"))
    assert "- math: a number is asked for\n- code: a program is asked for\n- others: none of" in text
    assert "What is {x} + 2?" in text
    assert text.endswith("\\boxed{")
    assert found.opened
    assert found.names == ("math", "code", OTHERS)
    assert found.task().stop == ("\n",)
    [asked] = found.problems([Problem("1", "one and one", "2")], label="math")
    assert (asked.answer, asked.solution) == ("math", "math}")
    assert found.task().grade(asked, asked.solution) is True
    assert found.task().grade(asked, "code}") is False


def test_the_shipped_chat_form():
    tok = toy_model().tokenizer
    tok.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<model>"
    found = Classifier({**KNOWN, OTHERS: "small talk"}, chat=True)
    turns = ({"role": "system", "content": "You write programs."}, {"role": "user", "content": "Sort a list."})
    text = found.prompt(Problem("1", turns, None), tok)
    assert text.startswith("<system>You sort requests.")
    assert "- others: small talk" in text
    assert "Sort a list." in text
    assert "You write programs" not in text  # it would tell the label
    assert "\\boxed{label}" in text
    assert "Reply with one of math, code, others, inside of \\boxed{}.<model>" in text
    assert not found.opened
    assert found.task().stop == ()
    assert found.problems([Problem("1", "x", None)], tok, "math")[0].solution == "\\boxed{math}"
    with pytest.raises(ValueError, match="no chat template"):
        found.prompt(Problem("1", turns, None), toy_model().tokenizer)


def test_what_is_asked_is_what_the_user_says():
    turns = [("system", "be short"), ("user", "one"), ("assistant", "two"), ("user", "three")]
    prompt = tuple({"role": role, "content": text} for role, text in turns)
    assert request(Problem("1", prompt, None)) == "one\n\nthree"


def test_a_template_of_ones_own(tmp_path):
    (tmp_path / "own.txt").write_text("{prompt}\nKind ({names}): \\boxed{\n")
    found = Classifier(KNOWN, str(tmp_path / "own.txt"))
    assert found.prompt(Problem("1", "add", None)) == "add\nKind (math, code, others): \\boxed{"
    (tmp_path / "bad.txt").write_text("{names} {request}")
    with pytest.raises(ValueError, match=r"unknown placeholder \{request\}"):
        Classifier(KNOWN, str(tmp_path / "bad.txt"))
    (tmp_path / "bad.txt").write_text("{names}")
    with pytest.raises(ValueError, match=r"missing placeholder \{prompt\}"):
        Classifier(KNOWN, str(tmp_path / "bad.txt"))
    with pytest.raises(FileNotFoundError, match=r"'none' is neither a file nor one of .*classify"):
        Classifier(KNOWN, "none")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "there are no labels but 'others'"),
        ({OTHERS: "x"}, "there are no labels but 'others'"),
        ("math", "give a criterion by label"),
        ({"": "x"}, "'' is no label"),
        ({" math": ""}, "' math' is no label"),
        ({"a}b": ""}, "is no label"),
        ({"a,b": ""}, "is no label"),
        ({3: ""}, "3 is no label"),
        ({"math": "", "Math": ""}, "labels 'math' and 'Math' differ in letter case alone"),
        ({"math": "", "Others": ""}, "'Others' is no label beside 'others'"),
        ({"math": None}, "the criterion of label 'math' is None"),
        ({"math": "one\ntwo"}, "give one line of text"),
    ],
)
def test_labels_that_cannot_be_told_apart(labels, message):
    with pytest.raises(ValueError, match=message):
        Classifier(labels)


def test_a_reply_has_tokens():
    with pytest.raises(ValueError, match="max_new_tokens=0"):
        Classifier(KNOWN, max_new_tokens=0)


class Unread(list):
    """A test split that must not be read."""

    def __iter__(self):
        raise AssertionError("a test split was read")

    def __getitem__(self, index):
        raise AssertionError("a test split was read")


def of(name, start, train=6, validation=4):
    return Task(name, problems(train, start), problems(validation, start + 50), Unread(problems(3)), lambda *_: True)


def test_the_task_of_sorting_is_made_of_train_and_validation():
    found = classification_task(Classifier(KNOWN), {"math": of("sums", 0), "code": of("programs", 100)}, most=4)
    assert [len(split) for split in (found.train, found.validation, found.test)] == [8, 4, 4]
    ids = [{p.id for p in split} for split in (found.train, found.validation, found.test)]
    assert not ids[0] & ids[1]
    assert not ids[1] & ids[2]
    trained = [p.id for own in (of("sums", 0), of("programs", 100)) for p in own.train]
    assert {p.id.split("/")[1] for p in found.train} <= set(trained)
    for split in found[1:4]:
        for p in split:
            assert p.answer == {"sums": "math", "programs": "code"}[p.id.split("/")[0]]
            assert found.grade(p, p.solution)
    assert found.max_new_tokens == 24


def test_others_are_taught_if_there_are_any():
    tasks = {"math": of("sums", 0), "code": of("programs", 100)}
    chat, songs = of("chat", 200), of("songs", 300)
    found = classification_task(Classifier(KNOWN), tasks, others=[chat, songs], most=4, seed=1)
    assert [p.id.split("/")[0] for p in found.train if p.answer == OTHERS] == ["chat"] * 2 + ["songs"] * 2
    other = classification_task(Classifier(KNOWN), tasks, others=[chat, songs], most=4, seed=2)
    assert [p.id for p in found.train] != [p.id for p in other.train]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"math": of("sums", 0)}, "tasks are for math and labels are code, math"),
        ({"math": of("a", 0), "code": of("b", 0, train=0)}, "task 'b', label 'code', has 0 train and 4 validation"),
        ({"math": of("a", 0), "code": of("b", 0, validation=1)}, "has 6 train and 1 validation problems"),
    ],
)
def test_tasks_that_cannot_teach_sorting(tasks, message):
    with pytest.raises(ValueError, match=message):
        classification_task(Classifier(KNOWN), tasks)


@pytest.fixture(scope="module")
def model():
    return toy_model()


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A classifier whose prompts fit the toy model's context."""
    path = tmp_path_factory.mktemp("templates") / "short.txt"
    path.write_text("{prompt} \\boxed{")
    return Classifier(KNOWN, str(path), max_new_tokens=4)


def test_a_model_that_never_replies_in_the_format(model, short):
    found = classify(model, short, problems(5))
    assert found.labels == [OTHERS] * 5
    assert [len(a.tokens) > 0 for a in found.attempts] == [True] * 5
    assert [a.correct for a in found.attempts] == [True] * 5  # asked whether it is `others`, which it is


def test_an_expert_sorts_as_it_is_trained_and_evaluated(model, short):
    """The same prompts, the same program: pass 1 under an expert is an evaluation of that expert."""
    factors = adapters.svf.factor(model.params)
    expert = make_expert(adapters.svf.init(jax.random.key(1), factors, std=2.0), model.params, task="classify")
    found = classify(model, short, problems(5), expert=expert, factors=factors)
    adapted = model._replace(params=adapters.attach(model.params, expert.adapter, factors))
    direct = attempt(adapted, short.task(), short.problems(problems(5)))
    assert [a.text for a in found.attempts] == [each[0].text for each in direct]
    np.testing.assert_allclose([a.logprob for a in found.attempts], [e[0].logprob for e in direct], atol=1e-4)
    assert [a.text for a in found.attempts] != [a.text for a in classify(model, short, problems(5)).attempts]
