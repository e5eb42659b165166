"""The skills world: right answers by an oracle that reads the question, splits that share nothing, determinism."""

import numpy as np
import pytest

from seal_jax.data.worlds import skills

FAMILIES = (*skills.LABELS, skills.UNSEEN)


def oracle(question: str) -> str:
    """The right answer, computed from the words of the question alone."""
    if " then " in question:
        return " ".join(map(oracle, question.split(" then ")))
    words = question.replace("skip to", "skip_to").split()
    head, rest = words[0], words[1:]
    if "and" in rest:
        return str(int(rest[0]) + int(rest[2]))
    if head in ("repeat", "echo", "copy", "say"):
        return " ".join(rest)
    if head in ("greet", "call", "skip_to", "meet"):
        return rest[{"skip_to": 2, "meet": 4}.get(head, 0)]
    if rest[1].isdigit():
        marks = {int(rest[i + 1]): rest[i] for i in (0, 2, 4)}
        return " ".join(marks[mark] for mark in sorted(marks, reverse=True))
    return " ".join(reversed(rest))


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_the_oracle(family):
    for split in skills.SPLITS:
        for problem in skills.problems(family, split, 96):
            text = problem.prompt[0]["content"]
            assert problem.answer == problem.solution == oracle(text), text
            assert skills.correct(problem, f" {oracle(text)}\n")
            assert not skills.correct(problem, oracle(text)[:-1])
            assert problem.meta["family"] == family


@pytest.mark.parametrize("family", [*skills.TRAINED, skills.UNSEEN])
def test_a_slip_is_another_answer_of_the_same_length(family):
    rng = np.random.default_rng(0)
    for number in range(100):
        asked = skills.ask(family, "validation", rng, number)
        for part in range(len(asked.parts)):
            slipped = asked.answer([n != part for n in range(len(asked.parts))])
            assert slipped != asked.right == oracle(asked.text)
            assert len(slipped.split()) == len(asked.right.split())


def test_no_content_is_in_two_splits():
    def contents(split: str) -> set[str]:
        asked = [p.prompt[0]["content"] for family in FAMILIES for p in skills.problems(family, split, 200)]
        parts = [part for text in asked for part in text.split(" then ")]
        return {" ".join(part.replace("skip to", "skip").split()[1:]).replace(" and", "") for part in parts}

    found = {split: contents(split) for split in skills.SPLITS}
    assert all(len(each) > 300 for each in found.values())
    for one in found:
        for other in found:
            assert one == other or not found[one] & found[other]


def test_problems_are_a_function_of_the_arguments():
    few, many = skills.problems("sums", "train", 20), skills.problems("sums", "train", 50)
    assert many[:20] == few
    assert skills.problems("sums", "train", 20, seed=1) != few
    assert len({p.id for p in many}) == len({p.prompt[0]["content"] for p in many}) == 50


@pytest.mark.parametrize("family", [*skills.LABELS, skills.UNSEEN])
def test_wordings_are_equally_frequent(family):
    wordings = [p.meta["wording"] for p in skills.problems(family, "test", 128)]
    counts = {wording: wordings.count(wording) for wording in set(wordings)}
    assert len(set(counts.values())) == 1
    assert len(counts) == (64 if family == skills.UNSEEN else 8)


def test_mixed_has_every_label_alike():
    labels = [p.meta["family"] for p in skills.mixed("validation", 40)]
    assert sorted(labels) == sorted([*skills.LABELS] * 10)


@pytest.mark.parametrize(("family", "split", "named"), [("poems", "test", "sums"), ("sums", "dev", "train")])
def test_unknown_names_are_refused_with_what_there_is(family, split, named):
    with pytest.raises(ValueError, match=named):
        skills.problems(family, split, 1)
