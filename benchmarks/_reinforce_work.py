"""What one REINFORCE update is measured on: a model, an expert, and 32 answers with rewards."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import jax
import numpy as np

import seal_jax
from benchmarks._work import SHAPES
from seal_jax import adapters, models
from seal_jax.models.families import config_from_hf
from seal_jax.transformer2.rows import Row

SIZES = ("skills", "12x768")
RATE, CLIP = 2e-3, 1e-3


@dataclasses.dataclass(frozen=True)
class Work:
    """One update as the release makes it: greedy answers, rewards of +-1, a sum over tokens, exact KL(base || expert).

    The time of writing and grading the answers is not in it.
    """

    sequences: int = 32
    prompt: tuple[int, int] = (24, 48)
    completion: tuple[int, int] = (8, 24)
    kl_coefficient: float = 0.1
    targets: tuple[str, ...] = ("mlp",)

    def rows(self, vocab: int) -> list[Row]:
        """Random tokens, lengths and signs; weights as `reinforce.rows_of` has them."""
        rng = np.random.default_rng(0)
        found = []
        for _ in range(self.sequences):
            sizes = [int(rng.integers(low, high + 1)) for low, high in (self.prompt, self.completion)]
            prompt, completion = (rng.integers(1, vocab, n).tolist() for n in sizes)
            sign = 1.0 if rng.random() < 0.5 else -1.0
            found.append(Row(prompt, completion, sign / self.sequences, self.kl_coefficient / self.sequences))
        return found


def config_of(size: str) -> models.Config:
    """The shape of a name in `SIZES`, or of any other in `_work.SHAPES`."""
    if size in SHAPES:
        return SHAPES[size]
    file = pathlib.Path(seal_jax.__file__).parent / "assets" / size / "config.json"
    return config_from_hf(json.loads(file.read_text(encoding="utf-8")))


def expert_of(params: models.Params, work: Work) -> tuple[adapters.Adapter, adapters.Adapter]:
    """Factors of the targeted kernels, and an expert that differs from the base. params: stacked."""
    factors = adapters.svf.factor(params, work.targets)
    return factors, adapters.svf.init(jax.random.key(1), factors, mean=0.1, std=0.3)
