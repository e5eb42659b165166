"""Scores of generated answers by hand and by published examples."""

import pytest

from seal_jax.continual import text_scores


def test_exact_match_forgives_case_punctuation_and_spaces():
    assert text_scores.exact(" Science  or Technology.", "science or technology") == 1
    assert text_scores.exact("the world", "world") == 0  # articles are words here


@pytest.mark.parametrize(
    ("answer", "wanted", "score"),
    [
        ("police killed the gunman", "police kill the gunman", 0.75),  # the example of the ROUGE paper
        ("the gunman kill police", "police kill the gunman", 0.5),
        ("a b c", "a b c", 1.0),
        ("", "a", 0.0),
        ("x y", "a b c", 0.0),
        ("a, B", "A b c d", 2 * 2 / 6),
    ],
)
def test_rouge_l(answer, wanted, score):
    assert text_scores.rouge_l(answer, wanted) == pytest.approx(score)


def test_similarity():
    assert text_scores.similarity("return x ", "return x") == 1
    assert text_scores.similarity("abcd", "bcde") == 0.75
    assert text_scores.similarity("", "") == 1


SOURCE = "About 95 species are currently accepted ."
WANTED = "About 95 species are currently known ."


@pytest.mark.parametrize(
    ("answer", "n_grams"),
    [
        # kept, deleted, added: for n = 1 to 4
        (WANTED, [(1, 1, 1)] * 4),
        # n=1: kept 7, of which 6 of 6 that should be: 2 * 6/7 / (6/7 + 1); nothing deleted; nothing added of 1.
        (SOURCE, [(2 * k / (1 + k), 1, 0) for k in (6 / 7, 4 / 6, 3 / 5, 2 / 4)]),
    ],
)
def test_sari(answer, n_grams):
    assert text_scores.sari(answer, WANTED, SOURCE) == pytest.approx(sum(map(sum, n_grams)) / 12)


def test_sari_of_a_wrong_answer_is_low():
    assert text_scores.sari("nothing of it", WANTED, SOURCE) < 0.4
    assert set(text_scores.SCORES) == {"accuracy", "rouge_l", "similarity", "sari"}
