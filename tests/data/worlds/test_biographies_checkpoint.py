"""The shipped checkpoint: it reads, remembers, knows nobody else, and writes self-edits of uneven worth."""

import collections
import dataclasses

import numpy as np
import pytest
from oracles.styles import kind

from seal_jax import models
from seal_jax.data.worlds import biographies, self_edits, tokenizer
from seal_jax.seal import demo, policy, reward
from seal_jax.seal.answers import ask, verdicts
from seal_jax.seal.edits import training_sequences
from seal_jax.seal.inner_loop import Trial, run_trials
from seal_jax.seal.settings import Answering

ANSWERING = Answering(template="plain", max_new_tokens=4, stop=("\n",))
INNER = dataclasses.replace(demo.SETTINGS.inner, at_once=18)


@pytest.fixture(scope="module")
def model():
    return models.from_pretrained(demo.CHECKPOINT)


def answered(model, split, shown):
    outcomes = ask(model, biographies.passages(split, 20, seed=11), ANSWERING, show_passage=shown, rows=120)
    assert len(verdicts(outcomes)) == 120
    return verdicts(outcomes).mean()


def test_it_reads_about_people_it_never_met(model):
    assert answered(model, "test", shown=True) >= 0.9


def test_it_does_not_know_them(model):
    assert answered(model, "test", shown=False) <= 0.1


def test_it_remembers_the_people_of_its_pretraining(model):
    assert answered(model, "known", shown=False) >= 0.6


def test_its_files(model):
    """At most 4 MB in all, Llama in the Hugging Face layout, with the tokenizer that the world builds."""
    assert sum(f.stat().st_size for f in demo.CHECKPOINT.iterdir()) <= 4_000_000
    assert model.config.model_type == "llama"
    fresh = tokenizer.build()
    assert model.tokenizer.get_vocab() == fresh.get_vocab()
    [passage] = biographies.passages("test", 1)
    for text in (passage.context, "Notes:\npet: dog\n", "naïve café ☃ 12"):
        assert model.tokenizer.encode(text) == fresh.encode(text)


@pytest.fixture(scope="module")
def worth(model):
    """Accuracy of 12 people's questions after one fine-tune, `[styles][people]`; people of the split for choices."""
    people = biographies.passages("dev", 12, seed=11)
    styles = ("keywords", "questions", "vague")
    trials = []
    for style in styles:
        for item, p in enumerate(people):
            edit = self_edits.write(biographies.person(p.title), np.random.default_rng(item), style)
            trials.append(Trial(f"{style}/{item}", training_sequences(edit, p.title, p.context), p, seed=0, item=item))
    outcomes = iter(run_trials(model, trials, INNER, ANSWERING))
    return {style: [np.mean(next(outcomes)["correct"]) for _ in people] for style in styles}


@pytest.mark.parametrize("style", ["keywords", "questions"])
def test_what_says_something_teaches_more(worth, style):
    difference, error = reward.paired(worth[style], worth["vague"], range(12))
    assert difference > 0.2
    assert difference > 3 * error


def test_its_own_edits_are_of_many_styles(model):
    """At least four of the five styles among 40 edits, and some vague: there is something to find."""
    people = biographies.passages("dev", 8, seed=11)
    edits = dataclasses.replace(demo.SETTINGS.edits, count=5, rows=40)
    written = policy.write_edits(model, people, edits, seed=0)
    found = collections.Counter(
        kind(biographies.person(p.title), text) for p, texts in zip(people, written) for text in texts
    )
    assert len(found) >= 4
    assert found["vague"] >= 4
    assert found.most_common(1)[0][1] < 24  # no style is nearly all
    assert "" not in {text for texts in written for text in texts}
