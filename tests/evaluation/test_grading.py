"""Grading rules: agreement with recorded GPT-4.1 verdicts, examples, laws."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from experiments import grader_agreement
from seal_jax.evaluation import agreement, grading


@pytest.fixture(scope="module")
def files(shared_data):
    return tuple(
        sorted(p for name in ("ranking", "eval") for p in (shared_data / "seal_recorded" / name).glob("*.json"))
    )


# Agreement and kappa are published for all 99,146 recorded answers; these are the 18,176 of the files at hand, within
# 0.02 and 0.07 of that.
TABLE = {
    "exact": (0.680, 0.178, 0.998, 0.148, 0.056),
    "contained": (0.852, 0.665, 0.935, 0.652, 0.262),
    "recall": (0.861, 0.689, 0.907, 0.702, 0.291),
    "recall_all": (0.861, 0.687, 0.930, 0.681, 0.275),
    "recall_half": (0.827, 0.638, 0.747, 0.816, 0.410),
}


def test_agreement_with_recorded_verdicts(files):
    rows = grader_agreement.main(grader_agreement.Settings(files))
    assert {row["cases"] for row in rows} == {18176}
    assert [row["true_rate"] for row in rows] == pytest.approx([0.3756] * 5, abs=1e-4)
    columns = ("agreement", "kappa", "precision", "recall", "rate")
    for row in rows:
        assert [row[c] for c in columns] == pytest.approx(TABLE[row["rule"]], abs=6e-4), row["rule"]
    assert max(rows, key=lambda row: row["kappa"])["rule"] == "recall"


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.sampled_from([True, False, None])), min_size=1))
def test_agreement(pairs):
    """Against the four cells of the table, in numpy."""
    ours, theirs = ([pair[k] for pair in pairs] for k in (0, 1))
    found = agreement(ours, theirs)
    known = np.array([p for p in pairs if None not in p], bool).reshape(-1, 2)
    assert (found["cases"], found["ungraded"]) == (len(known), len(pairs) - len(known))
    cells = [[np.sum((known[:, 0] == a) & (known[:, 1] == b)) for b in (0, 1)] for a in (0, 1)]
    table = np.array(cells, float)
    with np.errstate(invalid="ignore"):
        share = table / table.sum()
        chance = share.sum(0) @ share.sum(1)
        want = {
            "agreement": share.trace(),
            "kappa": (share.trace() - chance) / (1 - chance) if chance < 1 - 1e-12 else np.nan,
            "precision": table[1, 1] / table[1].sum(),
            "recall": table[1, 1] / table[:, 1].sum(),
            "rate": share[1].sum(),
            "true_rate": share[:, 1].sum(),
        }
    for name, value in want.items():
        np.testing.assert_allclose(found[name], value, atol=1e-9, err_msg=name)


def test_agreement_needs_pairs():
    with pytest.raises(ValueError, match="2 verdicts and 1 true ones"):
        agreement([True, False], [True])


def test_recorded_empty_answers_are_wrong(files):
    graded = [pair for path in files for pair in grader_agreement.recorded(path)]
    empty = [(case, verdict) for case, verdict in graded if not case.answer.strip()]
    assert len(empty) > 10
    assert not any(verdict for _, verdict in empty)
    assert not any(grading.rule_grader(rule)([case])[0] for case, _ in empty for rule in grading.RULES)


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
