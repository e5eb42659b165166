"""The shipped model of the skills world: it half masters every family, and others wholly."""

import pytest

from seal_jax import models, transformer2
from seal_jax.data.worlds import skills
from seal_jax.transformer2 import skills as tasks
from seal_jax.transformer2.classify import classify


@pytest.fixture(scope="module")
def model():
    return models.from_pretrained(tasks.CHECKPOINT)


def accuracy(model, task):
    return transformer2.accuracy(transformer2.attempt(model, task, task.test, rows=128))[0]


@pytest.mark.parametrize("family", [*skills.TRAINED, skills.UNSEEN])
def test_the_base_answers_between_a_fifth_and_seven_tenths(model, family):
    assert 0.2 <= accuracy(model, tasks.task(family, 1, 1, 256)) <= 0.7


def test_the_base_answers_others(model):
    assert accuracy(model, tasks.task(skills.OTHERS, 1, 1, 128)) >= 0.9


def test_the_base_classifies_imperfectly_and_in_the_format(model):
    problems = skills.mixed("test", 256)
    found = classify(model, tasks.classifier(), problems, rows=128)
    assert all(a.text.startswith("\\boxed{") and a.finished for a in found.attempts)
    right = [label == p.meta["family"] for label, p in zip(found.labels, problems)]
    assert 0.4 <= sum(right) / len(right) <= 0.8


def test_the_checkpoint_is_small():
    assert (tasks.CHECKPOINT / "model.safetensors").stat().st_size <= 4 * 2**20
