"""Ours: N edits in one program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._work import Work
from seal_jax import adapters, models, training
from seal_jax.data import packing

RATE = 1e-3


def fresh_adapters(params: models.Params, work: Work, count: int) -> tuple[adapters.Adapter, adapters.Adapter]:
    """One LoRA, and `count` copies of it with leaves `[N, ...]`. params: stacked."""
    shapes = jax.eval_shape(lambda: params)
    one = adapters.lora.init(jax.random.key(1), shapes, work.rank, work.alpha, work.targets)
    return one, jax.tree.map(lambda x: jnp.tile(x[None], (count, *[1] * x.ndim)), one)


def batches(edits: Sequence[Sequence[np.ndarray]], steps: int) -> packing.Batch:
    """The first `steps` steps of every edit, one sequence a step, in the length bucket of the longest."""
    length = packing.bucket(max(len(s) for edit in edits for s in edit))
    shape = (len(edits), steps, 1, length)
    batch = {"tokens": np.zeros(shape, np.int32), "mask": np.zeros(shape, bool)}
    for n, edit in enumerate(edits):
        for s in range(steps):
            tokens = edit[s % len(edit)]
            batch["tokens"][n, s, 0, : len(tokens)] = tokens
            batch["mask"][n, s, 0, : len(tokens)] = True
    return batch


def train(params: models.Params, config: models.Config, start: Any, batch: packing.Batch) -> tuple[Any, jax.Array]:
    """Train every adapter on all its batches, AdamW with linear decay; returns adapters and losses `[N, S]`."""
    hyper = training.Hyper(RATE, batch["tokens"].shape[1])
    trained, metrics = training.finetune_batch(params, config, start, batch, hyper)
    return trained, metrics["loss"]
