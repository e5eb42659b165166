"""Pretraining documents of the skills world: questions answered rightly or with a slip, and questions classified.

A question's content is arbitrary, so it is read but hardly trained on.
"""

from __future__ import annotations

import numpy as np

from seal_jax.data.worlds.biographies_corpus import Document
from seal_jax.data.worlds.skills import LABELS, OTHERS, UNSEEN, Asked, Part, ask
from seal_jax.data.worlds.skills_families import FAMILIES
from seal_jax.data.worlds.skills_tokenizer import WHICH_KIND
from seal_jax.data.worlds.tokenizer import BOS

QUESTION_WEIGHT = 0.02
SHARES = {"sums": 0.24, "letters": 0.15, "ranks": 0.27, UNSEEN: 0.16, OTHERS: 0.06, "classified": 0.12}

RIGHT = (0.75, 0.68, 0.62, 0.56, 0.44, 0.38, 0.32, 0.25)
"""How often a question is answered rightly, by the number of its wording."""

LABELLED = (0.4, 0.8, 0.65, 0.7, 0.35, 0.8, 0.4, 0.7)
"""How often it is labelled rightly, by the number of its wording."""


def draw(rng: np.random.Generator) -> Document:
    """A document: a question of some family and its answer, or its label."""
    kind = list(SHARES)[rng.choice(len(SHARES), p=list(SHARES.values()))]
    if kind != "classified":
        return answered(ask(kind, "train", rng), rng)
    return classified(ask((*LABELS, UNSEEN)[rng.integers(len(LABELS) + 1)], "train", rng), rng)


def answered(asked: Asked, rng: np.random.Generator) -> Document:
    """A question and its answer; each part of the answer is right as often as its wording is reliable."""
    rightly = [rng.random() < RIGHT[_number(part)] for part in asked.parts]
    return _document(f"{BOS}<|user|>{asked.text}<|assistant|>", asked.answer(rightly))


def classified(asked: Asked, rng: np.random.Generator) -> Document:
    """A question and its label, which is wrong as often as its wording is unreliable.

    The wrong label of a wording is always the same. A composed question is labelled as one of its parts.
    """
    part = asked.parts[rng.integers(len(asked.parts))]
    label = LABELS.index(part.family)
    if rng.random() >= LABELLED[_number(part)]:
        label += 1 + _number(part) % (len(LABELS) - 1)
    prompt = f"{BOS}<|system|>{WHICH_KIND}<|user|>{asked.text}<|assistant|>"
    return _document(prompt, f"\\boxed{{{LABELS[label % len(LABELS)]}}}")


def _number(part: Part) -> int:
    return FAMILIES[part.family].wordings.index(part.wording)


def _document(prompt: str, answer: str) -> Document:
    return Document(prompt + answer, [(0, len(prompt), QUESTION_WEIGHT)])
