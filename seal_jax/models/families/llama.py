"""Llama 1, 2, 3, 3.1 and 3.2 (text): biases by option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seal_jax.models.config import Config
from seal_jax.models.families.family import DECODER, Family
from seal_jax.models.families.fields import Fields
from seal_jax.models.families.rotary import read_rope, write_rope


def _read(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    bias = fields.flag("attention_bias", False)
    return {
        "qkv_bias": bias,
        "output_bias": bias,
        "mlp_bias": fields.flag("mlp_bias", False),
        **read_rope(fields, common["head_dim"]),
    }


def _write(config: Config) -> dict[str, Any]:
    return {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias, **write_rope(config)}


LLAMA = Family(
    "llama",
    "LlamaForCausalLM",
    _read,
    _write,
    DECODER,
    defaults={"max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2},
)
