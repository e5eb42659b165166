"""People of the biographies world: disjoint splits, facts fixed by name, passages that answer their questions."""

import itertools

import numpy as np
import pytest

from seal_jax.data.worlds import biographies
from seal_jax.data.worlds.biographies import SPLITS, names, passages, person, tell
from seal_jax.data.worlds.vocabulary import ATTRIBUTES, FIRST_NAMES, LAST_NAMES
from seal_jax.evaluation.grading import correct

SIZES = {"known": 64, "train": 4000, "dev": 1000, "test": 1500}


def test_splits_are_disjoint_and_of_their_sizes():
    everybody = {split: names(split) for split in SPLITS}
    assert {split: len(everybody[split]) for split in SIZES} == SIZES
    assert len(everybody["pretraining"]) == len(FIRST_NAMES) * len(LAST_NAMES) - sum(SIZES.values())
    assert len(everybody["pretraining"]) > 10_000
    together = [name for split in everybody.values() for name in split]
    assert len(set(together)) == len(together)
    for one, other in itertools.combinations(everybody.values(), 2):
        assert not set(one) & set(other)


def test_first_and_last_names_tell_nothing_about_the_split():
    assert {n.split()[0] for n in names("test")} == set(FIRST_NAMES)
    assert not set(FIRST_NAMES) & set(LAST_NAMES)


def test_people_never_change():
    """The shipped checkpoint knows the first split by these facts."""
    assert names("known")[:2] == ["Ivan Wolff", "Dora Selby"]
    assert person("Ivan Wolff").values == ("Bogota", "biologist", "Nimbus", "piano", "zoology", "turkey")


def test_a_name_fixes_the_person():
    for name in names("test")[:50]:
        assert person(name) == person(name)
        assert all(v in a.values for a, v in zip(ATTRIBUTES, person(name).values))
    drawn = {person(names("test")[0], np.random.default_rng(i)).values for i in range(5)}
    assert len(drawn) == 5


def test_values_are_spread_evenly():
    for i, attribute in enumerate(ATTRIBUTES):
        assert len(set(attribute.values)) == len(attribute.values) == 40
        counts = np.bincount([attribute.values.index(person(n).values[i]) for n in names("train")], minlength=40)
        assert counts.min() > 60, attribute.label
        assert counts.max() < 145, attribute.label


def test_passages_tell_every_answer():
    for p in passages("test", 30, seed=3):
        who = person(p.title)
        assert [q.answer for q in p.questions] == list(who.values)
        assert p.context.count(".") == len(ATTRIBUTES)
        assert who.name in p.context
        for asked in p.questions:
            assert who.name in asked.question
            assert asked.answer not in asked.question.split()
            assert correct(p.context, asked.answer, "contained")


def test_phrasings_depend_on_the_seed_and_the_person_alone():
    first, second = passages("dev", 5, seed=1), passages("dev", 3, seed=1, start=2)
    assert first[2:] == second
    other = passages("dev", 5, seed=2)
    assert [p.title for p in other] == [p.title for p in first]
    assert all(a.context != b.context for a, b in zip(first, other))
    assert [[q.answer for q in p.questions] for p in first] == [[q.answer for q in p.questions] for p in other]


def test_told_in_many_ways():
    who = person(names("dev")[0])
    told = {tell(who, np.random.default_rng(i)) for i in range(50)}
    assert len(told) == 50
    assert {t.split(".")[0] for t in told} <= {
        s.format(n=who.name, v=v).rstrip(".") for a, v in zip(ATTRIBUTES, who.values) for s in a.statements
    }


def test_statements_and_questions_use_what_they_are_filled_with():
    for a in ATTRIBUTES:
        assert all("{n}" in s and "{v}" in s for s in a.statements)
        assert all("{n}" in s and "{v}" not in s for s in (*a.questions, *a.vague))


def test_errors():
    with pytest.raises(ValueError, match="split 'validation' is not one of known, train, dev, test, pretraining"):
        names("validation")
    with pytest.raises(ValueError, match="split 'known' has 64 people, not 65"):
        passages("known", 5, start=60)
    assert biographies.passages("known", 0) == []
