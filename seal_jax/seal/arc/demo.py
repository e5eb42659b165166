"""SEAL on the embedded grids world: the settings, and the study that `experiments/arc_few_shot.py` runs."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from seal_jax import models
from seal_jax.data.worlds import grids
from seal_jax.runtime.run import Run
from seal_jax.seal.arc.schema import EditConfig
from seal_jax.seal.arc.settings import Edits, Prediction, Settings, TestTime
from seal_jax.seal.arc.study import study
from seal_jax.seal.arc.texts import Texts
from seal_jax.seal.settings import PolicyUpdate

CHECKPOINT = pathlib.Path(__file__).parents[2] / "assets" / "grids"

# Chosen on tasks of the "dev" split; the study trains on "train" and evaluates on "test".
SETTINGS = Settings(
    edits=Edits(template="arc-edit-plain", count=24, tested=2, temperature=1.0, max_new_tokens=32, rows=128),
    ttt=TestTime(
        rank=16,
        alpha=32.0,
        targets=("all",),
        warmup=2,
        max_sequences=16,
        max_steps=40,
        max_length=512,
        order="long_first",
        at_once=16,
    ),
    prediction=Prediction(permute_n=1, max_new_tokens=32),
    policy=PolicyUpdate(
        rank=16, alpha=32.0, learning_rate=3e-3, epochs=8, batch_size=5, schedule="cosine", max_length=512
    ),
    select="gained",
    instruction="arc-task-plain",
)
ORACLE = EditConfig((), "train_using_output_tokens", 3e-3, 4)
"""The best fixed edit found on "dev"."""
# The same on ARC files, whose grids are larger than those of the world.
FILES = dataclasses.replace(
    SETTINGS,
    ttt=dataclasses.replace(SETTINGS.ttt, max_length=1024, max_steps=24, at_once=4),
    prediction=dataclasses.replace(SETTINGS.prediction, max_new_tokens=512, rows=8),
)

TASKS, ROUNDS, TEST = 60, 2, 200


def grids_study(
    run: Run,
    model: models.Model,
    settings: Settings = SETTINGS,
    tasks: int = TASKS,
    rounds: int = ROUNDS,
    test: int = TEST,
    seed: int = 0,
    split: str = "test",
) -> dict[str, Any]:
    """`study` with the embedded checkpoint: rounds on fresh tasks of the "train" split, evaluation on `split`."""
    train = [grids.tasks("train", tasks, seed, start=i * tasks) for i in range(rounds)]
    texts = Texts(model.tokenizer, model.config.max_position, settings, seed)
    return study(run, model, train, grids.tasks(split, test, seed), texts, ORACLE)


def with_limits(settings: Settings, edits: int | None = None, sequences: int | None = None) -> Settings:
    """The settings with other numbers of edits tried for each task, and of training sequences."""
    if edits is not None:
        tried = dataclasses.replace(settings.edits, count=edits, tested=min(edits, settings.edits.tested))
        settings = dataclasses.replace(settings, edits=tried)
    if sequences is not None:
        settings = dataclasses.replace(settings, ttt=dataclasses.replace(settings.ttt, max_sequences=sequences))
    return settings
