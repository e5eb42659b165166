"""RAIN at Llama-2-7B shapes in bfloat16 on one GPU, with random weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import torch
import transformers

from benchmarks import _measure, _rain_turns
from benchmarks._rain_recipe import SHARES, Recipe, make
from seal_jax import models
from seal_jax.models.families import config_to_hf

# Its states are wider, so that logits spread as at the small size without a scale of 8.
LLAMA_2_7B = Recipe(models.Config("llama", 32000, 4096, 11008, 32, 32, 32, 128, 4096), scale=2.0)


def measure(
    recipe: Recipe = LLAMA_2_7B,
    policies: Sequence[str] = tuple(SHARES),
    batch: int = 16,
    rounds: int = 2,
    platform: str = "gpu",
) -> dict[str, Any]:
    """Milliseconds per token of greedy decoding and of searches of one prompt and of `batch` in step, by policy.

    transformers decodes greedily first, with random weights of the same shapes, and frees its memory; None where torch
    has no such device. Raises RuntimeError where JAX sees no such device.
    """
    # Or JAX takes most of the memory at its first use, while the other model is still there.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if jax.default_backend() != platform:
        raise RuntimeError(f"--gpu needs a GPU that jax sees, but its backend is {jax.default_backend()!r}")
    device = "cuda" if platform == "gpu" else platform
    reference = None if device == "cuda" and not torch.cuda.is_available() else _transformers(recipe, device, rounds)
    if device == "cuda":
        torch.cuda.empty_cache()
    work = make(recipe, batch, jnp.bfloat16)
    _rain_turns.compile_all(work, batch)
    found: dict[str, Any] = {"transformers_milliseconds_per_token": reference}
    for policy in policies:
        turns = {
            "greedy": lambda: _rain_turns.greedy(work, 1, _rain_turns.ours(work)),
            "one": lambda policy=policy: _rain_turns.searched(work, policy, 1, 1),
            "batch": lambda policy=policy: _rain_turns.searched(work, policy, batch, batch),
        }
        seconds, last = _rain_turns.take(rounds, turns)
        found[policy] = {
            "milliseconds_per_token": {name: 1e3 * _rain_turns.median(times) for name, times in seconds.items()},
            "over_greedy": _rain_turns.ratios(seconds["one"], seconds["greedy"]),
            "batch_over_one": _rain_turns.ratios(seconds["one"], seconds["batch"]),
            **{name: last[name]._asdict() for name in ("one", "batch")},
        }
    found["peak_bytes"] = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return found


def _transformers(recipe: Recipe, device: str, rounds: int) -> float:
    """Milliseconds per token of greedy, cached decoding of one prompt; the median over rounds after a first one."""
    values = config_to_hf(recipe.config)
    with torch.device(device):
        hf_config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
        model: Any = transformers.AutoModelForCausalLM.from_config(hf_config, dtype=torch.bfloat16).eval()
        tokens = torch.randint(32, 127, (1, recipe.prompt))
    model.generation_config = transformers.GenerationConfig(do_sample=False, pad_token_id=0)

    def decode() -> None:
        with torch.inference_mode():
            out = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=recipe.new)
        out.cpu()  # waits for it

    decode()
    return 1e3 * _rain_turns.median([_measure.timed(decode).wall for _ in range(rounds)]) / recipe.new
