"""The rows of the parity table: one tiny model for each family, with all that is special about the family switched on.

`ROWS` makes the transformers configurations; `build` makes the model, with biases and norms drawn at random too (as
initialised they would hide a missing one), saves it, and loads it with our loader. Use the fixtures `row` (a column of
the table: a test that takes it runs for every family) and `build_row` of `conftest.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import transformers

from seal_jax import models

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def _row(kind: str, **settings: Any) -> Callable[[], Any]:
    """A row of the class `transformers.{kind}Config`: SIZES and the family's own settings, None taking a size out."""
    values = {name: value for name, value in {**SIZES, **settings}.items() if value is not None}
    return lambda: getattr(transformers, f"{kind}Config")(**copy.deepcopy(values), attn_implementation="eager")


ROWS: dict[str, Callable[[], Any]] = {
    "llama": _row("Llama", num_key_value_heads=2, rope_parameters=LLAMA3_ROPE),
    "llama_biases": _row("Llama", num_key_value_heads=4, attention_bias=True, mlp_bias=True, head_dim=12),
    "mistral": _row("Mistral", num_key_value_heads=2, sliding_window=4, head_dim=8),
    "qwen2": _row("Qwen2", num_key_value_heads=2, tie_word_embeddings=True),
    "qwen3": _row(
        "Qwen3",
        num_key_value_heads=1,
        head_dim=12,
        use_sliding_window=True,
        sliding_window=3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "gemma": _row("Gemma", num_key_value_heads=1, head_dim=12),
    "gemma2": _row(
        "Gemma2",
        num_key_value_heads=2,
        head_dim=12,
        sliding_window=4,
        query_pre_attn_scalar=6,
        attn_logit_softcapping=3.0,
        final_logit_softcapping=8.0,
        hidden_activation="gelu_pytorch_tanh",
    ),
    "gemma3": _row(
        "Gemma3Text",
        num_key_value_heads=2,
        head_dim=12,
        sliding_window=4,
        sliding_window_pattern=2,
        query_pre_attn_scalar=6,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0},
        },
    ),
    "gpt_neox": _row("GPTNeoX", hidden_act="gelu", rope_parameters={**DEFAULT_ROPE, "partial_rotary_factor": 0.5}),
    "gpt_neox_sequential": _row(
        "GPTNeoX", use_parallel_residual=False, attention_bias=False, hidden_act="gelu_new", tie_word_embeddings=True
    ),
    "gpt_neo": _row(
        "GPTNeo",
        num_hidden_layers=None,
        num_attention_heads=None,
        num_layers=3,
        num_heads=4,
        attention_types=[[["global", "local"], 1], [["local"], 1]],
        window_size=4,
    ),
}


class Row(NamedTuple):
    """theirs: the transformers model (float32, eager attention); folder: where it is saved; ours: loaded from there."""

    name: str
    theirs: Any
    folder: Path
    ours: models.Model


def their_model(config: Any) -> Any:
    """A random transformers model of a configuration, the same at every call; vectors are random as well."""
    import torch  # here, so that what needs no transformers model runs without it

    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for p in theirs.parameters():
            if p.ndim == 1:
                p += 0.3 * torch.randn_like(p)
    return theirs


def build(name: str, folder: Path) -> Row:
    """Make the model of a row, save it to `folder` and load it from there."""
    theirs = their_model(ROWS[name]())
    theirs.save_pretrained(folder)
    return Row(name, theirs, folder, models.from_pretrained(folder))


def batch() -> tuple[np.ndarray, np.ndarray]:
    """tokens int32 and mask bool `[3, 11]`: a row padded on the left, one padded on the right, one not padded."""
    tokens = np.random.default_rng(0).integers(3, SIZES["vocab_size"], (3, 11), np.int32)
    mask = np.ones((3, 11), bool)
    mask[0, :4] = mask[1, 8:] = False
    return tokens, mask


def their_logits(model: Any, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Logits `[B, T, V]` of a transformers model, in float32; those at pads mean nothing."""
    import torch

    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    with torch.no_grad():
        return (
            model(
                input_ids=torch.tensor(tokens, dtype=torch.long),
                attention_mask=torch.tensor(mask, dtype=torch.long),
                position_ids=torch.tensor(positions, dtype=torch.long),
            )
            .logits.float()
            .numpy()
        )


# One jitted function for all columns, so that a model is compiled once for each shape.
forward = jax.jit(models.forward, static_argnums=1)


def our_logits(model: models.Model, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Logits float32 `[B, T, V]` of our model."""
    return np.asarray(forward(model.params, model.config, tokens, mask))
