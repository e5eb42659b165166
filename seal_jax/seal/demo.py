"""SEAL on the embedded biographies world: the settings, and the study that `seal-jax demo` runs."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from seal_jax import models
from seal_jax.data.worlds import biographies, self_edits
from seal_jax.runtime.run import Run
from seal_jax.seal.settings import Answering, Edits, Inner, PolicyUpdate, Settings
from seal_jax.seal.study import study

CHECKPOINT = pathlib.Path(__file__).parents[1] / "assets" / "biographies"

# Chosen on people of the "dev" split; the demo trains on "train" and evaluates on "test".
SETTINGS = Settings(
    edits=Edits(kind="plain", count=5, top_p=1.0, max_new_tokens=96, rows=64),
    inner=Inner(rank=16, alpha=32.0, targets=("all",), learning_rate=3e-3, epochs=5),
    answering=Answering(template="plain", max_new_tokens=8, stop=("\n",)),
    policy=PolicyUpdate(rank=32, alpha=64.0, learning_rate=1e-3, epochs=4, batch_size=10),
    reward="accuracy",
    seeds=1,
)


PASSAGES, ROUNDS, TEST = 40, 2, 120


def run_demo(run: Run, model: models.Model, seed: int = 0) -> dict[str, Any]:
    """Two rounds on 40 people each, evaluated on 120 others, with the model of `CHECKPOINT`: the result of `study`."""
    return biographies_study(run, SETTINGS, PASSAGES, ROUNDS, TEST, seed, model=model)


def biographies_study(
    run: Run,
    settings: Settings,
    passages: int,
    rounds: int,
    test: int,
    seed: int = 0,
    dtype: str = "float32",
    model: models.Model | None = None,
    split: str = "test",
) -> dict[str, Any]:
    """`study` with the embedded checkpoint: rounds on fresh people of the "train" split, evaluation on `split`.

    The oracle's edits are faithful questions and answers, which the world's generator writes.
    """
    model = model or models.from_pretrained(CHECKPOINT, dtype=dtype)
    train = [biographies.passages("train", passages, seed, start=i * passages) for i in range(rounds)]
    held_out = biographies.passages(split, test, seed)
    return study(run, model, train, held_out, settings, seed, oracle=[ideal_edit(p.title) for p in held_out])


def ideal_edit(name: str) -> str:
    """What the generator would write about a person: every attribute as a question with the right answer."""
    return self_edits.write(biographies.person(name), np.random.default_rng(0), style="questions")
