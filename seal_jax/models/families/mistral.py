"""Mistral 7B: Llama with the same attention window in every layer, and no biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seal_jax.models.config import Config
from seal_jax.models.families.family import DECODER, Family
from seal_jax.models.families.fields import Fields
from seal_jax.models.families.rotary import read_rope, write_rope


def _read(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    fields.choice("attention_bias", (False,), False)
    window = fields.integer("sliding_window", None)  # null means full attention
    windows = None if window is None else (window,) * common["num_layers"]
    return {"sliding_windows": windows, **read_rope(fields, common["head_dim"])}


def _write(config: Config) -> dict[str, Any]:
    return {"sliding_window": config.windows[0], **write_rope(config)}


MISTRAL = Family(
    "mistral",
    "MistralForCausalLM",
    _read,
    _write,
    DECODER,
    defaults={
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
)
