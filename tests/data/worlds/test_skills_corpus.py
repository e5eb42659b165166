"""Pretraining documents of the skills world: how often answers and labels are right, and what the loss counts."""

import numpy as np
import pytest

from seal_jax.data.worlds import skills, skills_corpus, skills_tokenizer


@pytest.fixture(scope="module")
def tok():
    return skills_tokenizer.build()


def test_answers_are_as_often_right_as_their_wording_is_reliable():
    rng, right = np.random.default_rng(0), np.zeros((8, 2))
    for number in range(1600):
        asked = skills.ask("letters", "train", rng, number)
        document = skills_corpus.answered(asked, rng)
        right[number % 8] += (document.text.endswith(f"<|assistant|>{asked.right}"), 1)
    share = right[:, 0] / right[:, 1]
    np.testing.assert_allclose(share, skills_corpus.RIGHT, atol=4 * 0.5 / np.sqrt(200))


def test_labels_are_as_often_right_as_their_wording_is_and_else_always_the_same():
    rng, labels = np.random.default_rng(0), [[] for _ in range(8)]
    for number in range(1600):
        document = skills_corpus.classified(skills.ask("ranks", "train", rng, number), rng)
        labels[number % 8].append(document.text.rsplit("{")[-1][:-1])
    share = [each.count("ranks") / len(each) for each in labels]
    np.testing.assert_allclose(share, skills_corpus.LABELLED, atol=4 * 0.5 / np.sqrt(200))
    assert all(len(set(each)) == 2 and set(each) <= set(skills.LABELS) for each in labels)


def test_every_kind_of_document_comes_and_fits_the_rows_of_pretraining(tok):
    rng = np.random.default_rng(0)
    documents = [skills_corpus.draw(rng) for _ in range(400)]
    assert max(len(tok(d.text)["input_ids"]) + 1 for d in documents) <= 24
    assert 0.08 < np.mean(["\\boxed" in d.text.split("<|assistant|>")[1] for d in documents]) < 0.2
    for document in documents:
        ((start, end, weight),) = document.spans
        assert (start, weight) == (0, skills_corpus.QUESTION_WEIGHT)
        assert document.text[:end].endswith("<|assistant|>")
    again = np.random.default_rng(0)
    assert [skills_corpus.draw(again) for _ in range(400)] == documents


def test_a_question_of_the_chat_template_is_that_of_pretraining(tok):
    problem = skills.problems("sums", "train", 1)[0]
    ids = tok.apply_chat_template(
        [dict(turn) for turn in problem.prompt], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert ids == tok(f"<s><|user|>{problem.prompt[0]['content']}<|assistant|>")["input_ids"]
    assert tok.decode(tok(problem.answer)["input_ids"]) == problem.answer


@pytest.mark.parametrize("text", ["add 27 and 45", "\\boxed{letters}", "Ünïcode, 漢字\n and more", "12 Ann  k"])
def test_any_text_survives_the_tokenizer(tok, text):
    assert tok.decode(tok(text)["input_ids"]) == text
