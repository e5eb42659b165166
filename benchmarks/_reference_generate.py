"""The reference: `transformers.generate` with its key/value cache, greedy, on given weights."""

from __future__ import annotations

import itertools
import tempfile
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks._measure import timed
from seal_jax import models

ATTENTION = ("sdpa", "eager")


class Reference:
    """The model in transformers, with whichever attention and number of threads is fastest for a batch."""

    def __init__(self, params: models.Params, config: models.Config, cores: int) -> None:
        self.cores = cores
        with tempfile.TemporaryDirectory() as folder:
            models.save_pretrained(folder, config, params)
            self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
        # Nothing that would end a row early, and no warning about what is not set.
        self.model.generation_config = transformers.GenerationConfig(do_sample=False, pad_token_id=0)

    def generate(self, prompts: np.ndarray, new: int) -> np.ndarray:
        """The `new` tokens after int `[B, T]` prompts: int `[B, new]`."""
        tokens = torch.tensor(prompts, dtype=torch.long)
        with torch.inference_mode():
            out = self.model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new)
        return out[:, tokens.shape[1] :].numpy()

    def choose(self, prompts: np.ndarray, new: int) -> tuple[str, int]:
        """Take what is fastest for these prompts, each warmed up; returns the attention and the threads."""
        seconds = {}
        for setting in itertools.product(ATTENTION, sorted({1, self.cores})):
            self._set(*setting)
            self.generate(prompts, 4)
            seconds[setting] = timed(lambda: self.generate(prompts, new)).wall
        fastest = min(seconds, key=lambda setting: seconds[setting])
        self._set(*fastest)
        return fastest

    def _set(self, attention: str, threads: int) -> None:
        self.model.set_attn_implementation(attention)
        torch.set_num_threads(threads)
