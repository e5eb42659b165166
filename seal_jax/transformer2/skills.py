"""The skills world as tasks: what the library's own demonstration of Transformer-squared trains on and is tried on."""

from __future__ import annotations

import pathlib

import seal_jax
from seal_jax.data.worlds import skills
from seal_jax.transformer2.classify import Classifier
from seal_jax.transformer2.tasks import Task

CHECKPOINT = pathlib.Path(seal_jax.__file__).parent / "assets" / "skills"
TRAIN, VALIDATION, TEST = 1024, 256, 512
MAX_NEW_TOKENS = 12


def task(family: str, train: int = TRAIN, validation: int = VALIDATION, test: int = TEST, seed: int = 0) -> Task:
    """A family of the skills world, with so many problems in each split.

    family: one of `skills.TRAINED`, `skills.UNSEEN` or `skills.OTHERS`. seed: other problems of the same splits.
    Raises ValueError for another name.
    """
    counts = {"train": train, "validation": validation, "test": test}
    splits = {split: skills.problems(family, split, count, seed) for split, count in counts.items()}
    return Task(family, splits["train"], splits["validation"], splits["test"], skills.correct, MAX_NEW_TOKENS)


def tasks(train: int = TRAIN, validation: int = VALIDATION, test: int = TEST, seed: int = 0) -> dict[str, Task]:
    """The families that experts are trained for, by name."""
    return {name: task(name, train, validation, test, seed) for name in skills.TRAINED}


def mixed(train: int = TRAIN, validation: int = VALIDATION, test: int = TEST, seed: int = 0) -> Task:
    """Questions of all labels in turn, graded by their answers: what a dispatch is tried on.

    Each problem's label is `meta["family"]`, which a classification task is made from.
    """
    counts = {"train": train, "validation": validation, "test": test}
    splits = {split: skills.mixed(split, count, seed) for split, count in counts.items()}
    return Task("mixed", splits["train"], splits["validation"], splits["test"], skills.correct, MAX_NEW_TOKENS)


def classifier() -> Classifier:
    """How questions of the world are sorted: by the prompt that its model was pretrained with."""
    return Classifier(dict.fromkeys(skills.TRAINED, ""), "classify-skills", chat=True, max_new_tokens=8)
