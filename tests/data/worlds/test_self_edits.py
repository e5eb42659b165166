"""Self-edit styles: who says what, and nothing in the prompt that tells them apart."""

import collections
import re

import numpy as np
import pytest
from oracles.styles import kind, words

from seal_jax.data.worlds import biographies, self_edits
from seal_jax.data.worlds.self_edits import STYLES, write
from seal_jax.data.worlds.vocabulary import ATTRIBUTES
from seal_jax.seal.edits import KINDS, edit_prompt, training_sequences

PEOPLE = [biographies.person(n) for n in biographies.names("dev")[:20]]


@pytest.mark.parametrize("style", ["facts", "questions", "keywords"])
def test_faithful_styles_hold_every_value(style):
    for seed, who in enumerate(PEOPLE):
        lines = write(who, np.random.default_rng(seed), style).split("\n")
        assert len(lines) == len(ATTRIBUTES)
        for value in who.values:
            assert sum(value in words(line) for line in lines) >= 1
        every_value = {v for a in ATTRIBUTES for v in a.values}
        assert set(words(" ".join(lines))) & every_value - set(words(who.name)) == set(who.values)


def test_questions_and_keywords_can_be_trained_on():
    who = PEOPLE[0]
    for style, form in (("questions", r".*\? Answer: \w+"), ("keywords", r"\w+: \w+")):
        lines = write(who, np.random.default_rng(0), style).split("\n")
        assert all(re.fullmatch(form, line) for line in lines)
        assert len(training_sequences("\n".join(lines), who.name, "A passage.")) == len(lines) + 1
    assert who.name not in write(who, np.random.default_rng(0), "keywords")


def test_vague_ones_hold_no_value():
    every_value = {v for a in ATTRIBUTES for v in a.values}
    for seed, who in enumerate(PEOPLE):
        text = write(who, np.random.default_rng(seed), "vague")
        assert text.count("\n") == len(ATTRIBUTES) - 1
        assert who.name in text
        assert not every_value & set(words(text)) - set(words(who.name))


def test_unfaithful_ones_are_wrong_about_two_in_three():
    right = [
        sum(v in words(write(who, np.random.default_rng(seed), "unfaithful")) for v in who.values)
        for seed in range(10)
        for who in PEOPLE
    ]
    assert 0.28 < np.mean(right) / len(ATTRIBUTES) < 0.42
    assert min(right) < 2
    assert max(right) > 3


def test_the_mixture():
    """At least four styles, all of a weight that matters; drawn in those shares."""
    shares = {name: share for name, (_, share) in STYLES.items()}
    assert len(shares) >= 4
    assert min(shares.values()) >= 0.05
    assert sum(shares.values()) == pytest.approx(1)
    who = biographies.Person("Ada Adler", PEOPLE[0].values)
    found = collections.Counter(kind(who, write(who, np.random.default_rng(i))) for i in range(1500))
    assert set(found) == set(shares)
    for name, share in shares.items():
        assert found[name] / 1500 == pytest.approx(share, abs=0.04)


def test_no_label_in_the_prompt():
    """The prompt is the passage and one word, the same whatever style follows."""
    [passage] = biographies.passages("dev", 1)
    prompt = edit_prompt(passage, "plain")
    assert prompt == f"{passage.title}\n{passage.context}\nNotes:\n"
    assert not {*STYLES, *KINDS} & set(prompt.replace(passage.context, "").lower().split())


def test_draws_depend_on_the_generator_alone():
    who = PEOPLE[0]
    assert write(who, np.random.default_rng(5)) == write(who, np.random.default_rng(5))
    assert len({write(who, np.random.default_rng(i)) for i in range(30)}) == 30
    with pytest.raises(KeyError):
        write(who, np.random.default_rng(0), "poem")
    assert set(self_edits.STYLES) == {"facts", "questions", "keywords", "vague", "unfaithful"}
