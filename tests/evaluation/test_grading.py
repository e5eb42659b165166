"""Grading rules: agreement with recorded GPT-4.1 verdicts, examples, laws."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from seal_jax.evaluation import grading


@pytest.fixture(scope="module")
def graded(shared_data):
    rows = []
    for path in sorted((shared_data / "seal_recorded").glob("*/*.json")):
        if path.parent.name not in ("ranking", "eval"):
            continue
        questions = [
            q for a in json.loads(path.read_text())["articles"] for c in a["completions"] for q in c["questions"]
        ]
        for side in ("baseline", "adapter"):
            rows += [(q[f"{side}_answer"], q["answer"], q[f"{side}_correct"]) for q in questions]
    return rows


def agreement(graded, rule):
    truth = np.array([verdict for _, _, verdict in graded])
    ours = np.array([grading.correct(answer, gold, rule) for answer, gold, _ in graded])
    chance = ours.mean() * truth.mean() + (1 - ours.mean()) * (1 - truth.mean())
    agree = (ours == truth).mean()
    return agree, (agree - chance) / (1 - chance)


# Agreement and kappa: published for all 99,146 recorded answers, within 0.02 and 0.07 of these 18,176.
@pytest.mark.parametrize(
    ("rule", "agree", "kappa"),
    [
        ("exact", 0.680, 0.178),
        ("contained", 0.852, 0.665),
        ("recall", 0.861, 0.689),
        ("recall_all", 0.861, 0.687),
        ("recall_half", 0.827, 0.638),
    ],
)
def test_agreement_with_recorded_verdicts(graded, rule, agree, kappa):
    assert len(graded) == 18176
    assert agreement(graded, rule) == pytest.approx((agree, kappa), abs=1e-3)


def test_recorded_empty_answers_are_wrong(graded):
    empty = [(answer, gold, verdict) for answer, gold, verdict in graded if not answer.strip()]
    assert not any(verdict for _, _, verdict in empty)
    assert not any(grading.correct(answer, gold, rule) for answer, gold, _ in empty for rule in grading.RULES)


def test_normalize():
    assert grading.normalize("  The Age of\tEnlightenment, a U.S. thing! ") == "age of enlightenment us thing"
    assert grading.normalize("theatre another") == "theatre another"  # articles are whole words


@pytest.mark.parametrize(
    ("answer", "gold", "passed"),
    [
        ("Paris", "Paris", {"exact", "contained", "recall", "recall_all", "recall_half"}),
        ("It was the Paris of old.", "paris", {"contained", "recall", "recall_all", "recall_half"}),
        ("Barack H Obama", "Barack Obama", {"recall", "recall_all", "recall_half"}),
        ("Ann Bell", "Ann Bell Carr", {"recall_half"}),  # two of three is under 0.67
        ("Ann Bell Carr", "Ann Bell Carr Dunn", {"recall", "recall_half"}),
        ("north", "no", set()),
        ("very", "very very", {"recall_half"}),
        ("  \n", "Paris", set()),
        ("The", "The", {"exact", "contained", "recall", "recall_all", "recall_half"}),  # nothing but an article
        ("%", "%", {"exact", "contained", "recall", "recall_all", "recall_half"}),
    ],
)
def test_rules(answer, gold, passed):
    assert {rule for rule in grading.RULES if grading.correct(answer, gold, rule)} == passed


@given(st.text(max_size=20), st.text(max_size=20))
def test_rules_nest(answer, gold):
    if gold.strip():
        exact, contained, all_, most, half = (
            grading.correct(answer, gold, r) for r in ("exact", "contained", "recall_all", "recall", "recall_half")
        )
        assert exact <= contained <= all_ <= most <= half
        assert 0.0 <= grading.token_recall(answer, gold) <= 1.0
        assert grading.correct(gold, gold, "exact")


def test_errors():
    with pytest.raises(ValueError, match="'bleu' is not one of exact, contained, recall"):
        grading.correct("a", "a", "bleu")
    with pytest.raises(ValueError, match="gold answer is empty"):
        grading.correct("a", " ")


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("yes", True),
        ("Yes.", True),
        ("The answer is yes", True),
        ("not yes", True),
        ("NO", False),
        ("yes, no", False),
        ("yesterday", False),
        ("", False),
        ("no.", False),
        ("YES\n", True),
        ("nothing wrong: yes", True),
    ],
)
def test_verdicts(reply, verdict):
    assert grading.parse_verdict(reply) is verdict


def test_a_rule_as_a_grader():
    cases = [grading.Case("Who?", "Ann Bell", answer) for answer in ("It was Ann Bell.", "Ann", " ")]
    assert grading.rule_grader()(cases) == [True, False, False]
    assert grading.rule_grader("recall_half")(cases) == [True, True, False]
    with pytest.raises(ValueError, match="'bleu' is not one of exact"):
        grading.rule_grader("bleu")
