"""Pretraining documents of the grids world: tasks of the pretraining rules, and self-edits of uneven worth.

What cannot be predicted (the cells of an input, the first output) is read but hardly trained on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import numpy as np

from seal_jax.data.arc import Task, messages
from seal_jax.data.worlds import grids
from seal_jax.data.worlds.biographies_corpus import Document
from seal_jax.data.worlds.grids_rules import rule
from seal_jax.data.worlds.grids_splits import PRETRAINING
from seal_jax.data.worlds.grids_tokenizer import BOS

INPUT_WEIGHT, FIRST_WEIGHT, EDIT_WEIGHT = 0.02, 0.1, 0.5
DEMOS, DEMO_SHARES = (2, 3, 4), (0.2, 0.3, 0.5)
"""A model that is only shown four demonstrations cannot read three, and leaving some out is what it is trained on."""
EPOCHS, GROUP_SHARE = (0, 1, 2, 3, 4, 5), 0.25
RATES = (1e-06, 1e-05, 3e-05, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
_FLAGS = ("basic", "size", "chain", "repeat")
_STRATEGIES = ("train_using_all_tokens", "train_using_output_tokens")


def draw(rng: np.random.Generator, prompt: Callable[[Task], str], edits: float = 0.06) -> Document:
    """A document: with probability `edits` a self-edit after `prompt(task)`, else a task posed and answered."""
    names, weights = _weighted()
    task = grids.task(rule(names[rng.choice(len(names), p=weights)]), rng, demos=int(rng.choice(DEMOS, p=DEMO_SHARES)))
    return self_edit(task, rng, prompt) if rng.random() < edits else solving(task)


@cache
def _weighted() -> tuple[tuple[str, ...], np.ndarray]:
    weights = np.array(list(PRETRAINING.values()))
    return tuple(PRETRAINING), weights / weights.sum()


def solving(task: Task) -> Document:
    """A task posed and answered, as the chat template renders its messages, up to the end of the last turn."""
    system, user, assistant = messages(task)
    text = f"{BOS}<|system|>{system}<|user|>{user}{assistant}"
    spans, at = [], 0
    while (arrow := text.find(" -> ", at)) >= 0:
        spans.append((at, arrow + len(" -> "), INPUT_WEIGHT))
        at = text.index("#", arrow) + 1
        if len(spans) == 1:
            spans.append((arrow + len(" -> "), at, FIRST_WEIGHT))
    return Document(text, spans)


def self_edit(task: Task, rng: np.random.Generator, prompt: Callable[[Task], str]) -> Document:
    """A self-edit drawn at random, whatever the task."""
    asked, written = prompt(task), write_edit(rng)
    end = len(asked) + len(written)
    return Document(asked + written, [(0, len(asked), INPUT_WEIGHT), (len(asked), end, EDIT_WEIGHT)])


def write_edit(rng: np.random.Generator) -> str:
    """JSON of the self-edit schema: each group in GROUP_SHARE of them, either strategy, one of RATES and EPOCHS."""
    flags = {f"use_{flag}_augmentations": bool(rng.random() < GROUP_SHARE) for flag in _FLAGS}
    training = {
        "strategy": _STRATEGIES[rng.integers(2)],
        "learning_rate": RATES[rng.integers(len(RATES))],
        "num_train_epochs": EPOCHS[rng.integers(len(EPOCHS))],
    }
    return json.dumps({"data_generation": flags, "training": training})
