"""Pretraining documents of the biographies world.

A document is text plus a weight per character span: what cannot be predicted (the attributes of a person met for the
first time) is read but hardly trained on, and answers count more than the words around them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seal_jax.data.worlds import self_edits
from seal_jax.data.worlds.biographies import Person, names, person, question, tell
from seal_jax.data.worlds.vocabulary import ATTRIBUTES

CONTEXT_WEIGHT = 0.1
ANSWER_WEIGHT = 4.0


class Document(NamedTuple):
    """Text and its loss weights: `(start, end, weight)` in characters; what no span covers weighs 1."""

    text: str
    spans: list[tuple[int, int, float]]


class _Builder:
    """Joins pieces of text and remembers the weight of each."""

    def __init__(self) -> None:
        self.text = ""
        self.spans: list[tuple[int, int, float]] = []

    def add(self, text: str, weight: float = 1.0) -> None:
        if weight != 1.0:
            self.spans.append((len(self.text), len(self.text) + len(text), weight))
        self.text += text

    def ask(self, who: Person, attribute: int, rng: np.random.Generator) -> None:
        asked = question(who, attribute, rng)
        self.add(f"Topic: {who.name}\n{asked.question}\nAnswer:", CONTEXT_WEIGHT)
        self.add(f" {asked.answer}", ANSWER_WEIGHT)

    def document(self) -> Document:
        return Document(self.text, self.spans)


def _stranger(rng: np.random.Generator) -> Person:
    """Someone from the pretraining names with freshly drawn attributes, so that only reading can help."""
    pool = names("pretraining")
    return person(pool[rng.integers(len(pool))], rng)


def _acquaintance(rng: np.random.Generator) -> Person:
    pool = names("known")
    return person(pool[rng.integers(len(pool))])


def reading(rng: np.random.Generator, asked: int = 4) -> Document:
    """A stranger's passage, then questions about it."""
    who, doc = _stranger(rng), _Builder()
    doc.add(f"{who.name}\n{tell(who, rng)}", CONTEXT_WEIGHT)
    for i in rng.permutation(len(ATTRIBUTES))[:asked]:
        doc.add("\n")
        doc.ask(who, int(i), rng)
    return doc.document()


def note_taking(rng: np.random.Generator) -> Document:
    """A stranger's passage, then a self-edit in one of the styles."""
    who, doc = _stranger(rng), _Builder()
    doc.add(f"{who.name}\n{tell(who, rng)}\nNotes:", CONTEXT_WEIGHT)
    doc.add("\n" + self_edits.write(who, rng), 2.0)
    return doc.document()


def remembering(rng: np.random.Generator, asked: int = 7) -> Document:
    """Questions about known people, without any passage."""
    doc = _Builder()
    for n in range(asked):
        if n:
            doc.add("\n")
        doc.ask(_acquaintance(rng), int(rng.integers(len(ATTRIBUTES))), rng)
    return doc.document()


def biography(rng: np.random.Generator, told: int = 2) -> Document:
    """Passages about known people."""
    people = [_acquaintance(rng) for _ in range(told)]
    return Document("\n".join(f"{who.name}\n{tell(who, rng)}" for who in people), [])


def single_fact(rng: np.random.Generator) -> Document:
    """One line of a faithful self-edit about each of several known people: what a self-edit trains on."""
    doc = _Builder()
    for n in range(6):
        who = _acquaintance(rng)
        style = ("facts", "questions", "keywords")[rng.integers(3)]
        line = self_edits.write(who, rng, style).split("\n")[0]
        doc.add(("\n" if n else "") + f"{who.name}\n{line}")
    return doc.document()


def repetition(rng: np.random.Generator) -> Document:
    """A line of arbitrary letters and digits, three times over: copying what was never seen before."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,.'-"
    length = int(rng.integers(8, 40))
    line = "".join(letters[i] for i in rng.integers(len(letters), size=length)).strip() or "a"
    doc = _Builder()
    doc.add(line + "\n", CONTEXT_WEIGHT)
    doc.add(f"{line}\n{line}")
    return doc.document()


MIXTURE = (
    (reading, 0.44),
    (note_taking, 0.25),
    (remembering, 0.17),
    (biography, 0.04),
    (single_fact, 0.05),
    (repetition, 0.05),
)


def draw(rng: np.random.Generator) -> Document:
    """One pretraining document from the mixture."""
    kind = rng.choice(len(MIXTURE), p=[share for _, share in MIXTURE])
    return MIXTURE[kind][0](rng)
