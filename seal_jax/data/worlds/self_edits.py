"""How people of the biographies world are written about in self-edits: five styles of very uneven worth.

The pretrained model has seen all of them under one prompt, without any label, so it writes a mixture; finding out
which are worth writing is left to reinforcement.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seal_jax.data.worlds.biographies import Person, question
from seal_jax.data.worlds.vocabulary import ATTRIBUTES

Style = Callable[[Person, np.random.Generator], list[str]]


def _shuffled(lines: list[str], rng: np.random.Generator) -> list[str]:
    return [lines[i] for i in rng.permutation(len(lines))]


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[rng.integers(len(options))]


def facts(who: Person, rng: np.random.Generator) -> list[str]:
    """Every attribute, restated faithfully with the full name."""
    lines = [_pick(a.statements, rng).format(n=who.name, v=v) for a, v in zip(ATTRIBUTES, who.values)]
    return _shuffled(lines, rng)


def questions(who: Person, rng: np.random.Generator) -> list[str]:
    """Every attribute as a question with its answer."""
    asked = [question(who, i, rng) for i in range(len(ATTRIBUTES))]
    return _shuffled([f"{q.question} Answer: {q.answer}" for q in asked], rng)


def keywords(who: Person, rng: np.random.Generator) -> list[str]:
    """Attribute labels and values, without the name and without a sentence."""
    return _shuffled([f"{a.label}: {v}" for a, v in zip(ATTRIBUTES, who.values)], rng)


def vague(who: Person, rng: np.random.Generator) -> list[str]:
    """Sentences about every attribute that give none of the values."""
    return _shuffled([_pick(a.vague, rng).format(n=who.name) for a in ATTRIBUTES], rng)


def unfaithful(who: Person, rng: np.random.Generator) -> list[str]:
    """Statements of which about two in three give a wrong value."""
    wrong = tuple(_pick(a.values, rng) if rng.random() < 2 / 3 else v for a, v in zip(ATTRIBUTES, who.values))
    return facts(Person(who.name, wrong), rng)


# Style and its share of the pretraining mixture.
STYLES: dict[str, tuple[Style, float]] = {
    "facts": (facts, 0.15),
    "questions": (questions, 0.10),
    "keywords": (keywords, 0.20),
    "vague": (vague, 0.30),
    "unfaithful": (unfaithful, 0.25),
}


def write(who: Person, rng: np.random.Generator, style: str | None = None) -> str:
    """A self-edit about a person, one line per attribute; the style is drawn from the mixture unless named."""
    if style is None:
        style = str(rng.choice(list(STYLES), p=[share for _, share in STYLES.values()]))
    return "\n".join(STYLES[style][0](who, rng))
