"""The inner loop at real shapes on one GPU: random weights in bf16, 32 edits, then the answers of each."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from benchmarks import _measure, _ours, _peft
from benchmarks._work import Work, flops_per_token
from seal_jax import generation, models
from seal_jax.models.families import config_to_hf


def measure(
    config: models.Config, work: Work, edits: int = 32, device: str = "cuda", peak_size: int = 8192
) -> dict[str, Any]:
    """Seconds per edit, training and answers, of ours and of PEFT on the same device, and the shares of its peak.

    PEFT runs first and frees its memory. Raises RuntimeError where JAX or torch sees no such device.
    """
    # Or JAX takes most of the memory at its first use, while the other model is still there.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    _check_devices(device)
    texts = [work.edit(config.vocab_size, n) for n in range(edits)]
    reference = _measure_peft(config, work, texts[0], device)
    ours = _measure_ours(config, work, texts)
    peak = _measure.matmul_peak((peak_size,), jnp.bfloat16)
    tokens = sum(len(s) for text in texts for s in text) * work.epochs / edits
    useful = tokens * flops_per_token(config, work)
    return {
        "edits": edits,
        "matmul_peak_tflops": peak / 1e12,
        "peft": reference,
        "ours": ours,
        "ours_over_peft_padded": reference["padded_seconds_per_edit"] / ours["seconds_per_edit"],
        "ours_over_peft": reference["seconds_per_edit"] / ours["seconds_per_edit"],
        "training_share_of_peak": useful / ours["training_seconds_per_edit"] / peak,
    }


def _check_devices(device: str) -> None:
    if device == "cuda" and not (torch.cuda.is_available() and jax.default_backend() == "gpu"):
        raise RuntimeError(
            f"--gpu needs a GPU that both torch (available: {torch.cuda.is_available()}) and jax "
            f"(backend: {jax.default_backend()}) see; install the extra `cuda` and a CUDA build of torch"
        )


def _measure_peft(config: models.Config, work: Work, sequences: list[np.ndarray], device: str) -> dict[str, Any]:
    values = config_to_hf(config)
    with torch.device(device):
        hf_config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
        model = transformers.AutoModelForCausalLM.from_config(hf_config, dtype=torch.bfloat16)
    reference = _peft.Reference(model, work, steps=work.steps)
    reference.time_steps(sequences[:2])  # warm up
    plain = reference.time_steps(sequences)[0].wall
    reference.time_steps(sequences[:1], work.padded_to)
    padded = reference.time_steps(sequences[:3], work.padded_to)[0].wall
    reference.time_answers(config.vocab_size)
    answers = reference.time_answers(config.vocab_size)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    del model, reference
    if device == "cuda":
        torch.cuda.empty_cache()
    return {
        "seconds_per_edit": plain * work.steps + answers,
        "padded_seconds_per_edit": padded * work.steps + answers,
        "training_seconds_per_edit": plain * work.steps,
        "answer_seconds_per_edit": answers,
        "peak_gib": memory,
    }


def _measure_ours(config: models.Config, work: Work, texts: list[list[np.ndarray]]) -> dict[str, Any]:
    init = jax.jit(models.init, static_argnums=(1, 2))  # compiled as one, so that no float32 copy of all weights exists
    params = init(jax.random.key(0), config, jnp.bfloat16)
    _, start = _ours.fresh_adapters(params, work, len(texts))
    batch = _ours.batches(texts, work.steps)
    rng = np.random.default_rng(0)
    shape = (len(texts), work.questions, work.question_tokens)
    prompts = rng.integers(1, config.vocab_size, shape).tolist()

    def train() -> Any:
        return _ours.train(params, config, start, batch)[0]

    def answer(trained: Any) -> None:
        generation.generate_batch(params, config, trained, prompts, None, max_new_tokens=work.answer_tokens, eos=())

    trained = jax.block_until_ready(train())
    answer(trained)
    seconds = [_best(work_) / len(texts) for work_ in (train, lambda: answer(trained))]
    memory = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "seconds_per_edit": sum(seconds),
        "training_seconds_per_edit": seconds[0],
        "answer_seconds_per_edit": seconds[1],
        "peak_gib": memory and memory / 2**30,
    }


def _best(work: Callable[[], Any], rounds: int = 2) -> float:
    return _measure.best([_measure.timed(work) for _ in range(rounds)]).wall
