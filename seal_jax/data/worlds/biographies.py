"""The biographies world: fictional people with six attributes each, told in varied phrasings.

`people(split)` gives disjoint sets of people; `passages(split, n)` gives them as question-answering passages, the same
type that SQuAD loads into. Pretraining text is in `biographies_corpus`.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

from seal_jax.data.squad import Passage, Question
from seal_jax.data.worlds.vocabulary import ATTRIBUTES, FIRST_NAMES, LAST_NAMES

# Consecutive ranges of one fixed shuffle of all first x last names. "known" people are memorised in pretraining,
# "pretraining" people appear there once each with their passage; nobody else is ever seen in pretraining.
SPLITS = {"known": (0, 64), "train": (64, 4064), "dev": (4064, 5064), "test": (5064, 6564), "pretraining": (6564, None)}
_SHUFFLE_SEED = 2016


class Person(NamedTuple):
    """A name, and one value per attribute in the order of `vocabulary.ATTRIBUTES`."""

    name: str
    values: tuple[str, ...]


def _names() -> list[str]:
    pairs = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(pairs))
    return [pairs[i] for i in order]


_ALL_NAMES = _names()


def names(split: str) -> list[str]:
    """Every name of a split, in its fixed order. Raises ValueError for an unknown split."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    start, end = SPLITS[split]
    return _ALL_NAMES[start:end]


def person(name: str, rng: np.random.Generator | None = None) -> Person:
    """The person of that name: attributes are a fixed function of the name, or drawn from `rng` when given."""
    if rng is None:
        rng = np.random.default_rng([_SHUFFLE_SEED, zlib.crc32(name.encode())])
    return Person(name, tuple(a.values[rng.integers(len(a.values))] for a in ATTRIBUTES))


def tell(who: Person, rng: np.random.Generator) -> str:
    """A short biography: one sentence per attribute, in random order and phrasing."""
    last = who.name.split()[-1]
    sentences = []
    for position, i in enumerate(rng.permutation(len(ATTRIBUTES))):
        statements = ATTRIBUTES[i].statements
        subject = who.name if position == 0 or rng.random() < 0.3 else last
        sentences.append(statements[rng.integers(len(statements))].format(n=subject, v=who.values[i]))
    return " ".join(sentences)


def question(who: Person, attribute: int, rng: np.random.Generator) -> Question:
    """A question about one attribute, in a random phrasing, with its answer."""
    phrasings = ATTRIBUTES[attribute].questions
    return Question(phrasings[rng.integers(len(phrasings))].format(n=who.name), who.values[attribute])


def passage(who: Person, rng: np.random.Generator) -> Passage:
    """The person as a passage with one question per attribute."""
    questions = tuple(question(who, i, rng) for i in range(len(ATTRIBUTES)))
    return Passage(title=who.name, context=tell(who, rng), questions=questions)


def passages(split: str, count: int, seed: int = 0, start: int = 0) -> list[Passage]:
    """`count` passages about the people of a split from position `start` on; `seed` draws the phrasings.

    Raises ValueError if the split has fewer people.
    """
    chosen = names(split)[start : start + count]
    if len(chosen) < count:
        raise ValueError(f"split {split!r} has {len(names(split))} people, not {start + count}")
    return [passage(person(n), np.random.default_rng([seed, zlib.crc32(n.encode())])) for n in chosen]
