"""Qwen2, Qwen2.5 (query, key and value biases) and Qwen3 (query and key norms); some layers may have a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seal_jax.models.config import Config
from seal_jax.models.families.family import DECODER, Family
from seal_jax.models.families.fields import Fields
from seal_jax.models.families.rotary import read_rope, write_rope
from seal_jax.models.families.windows import read_windows, write_windows


def _windows(fields: Fields, layers: int) -> tuple[int | None, ...] | None:
    """The window of each layer: `layer_types` where given, else every layer from `max_window_layers` on slides."""
    window, first = fields.integer("sliding_window", None), fields.raw("max_window_layers", 28)
    if isinstance(first, bool) or not isinstance(first, int):
        raise fields.refuse("max_window_layers", "a number of layers")
    windows = read_windows(fields, layers, window, lambda i: i >= first)
    return windows if fields.flag("use_sliding_window", False) else None


def _write_windows(config: Config) -> dict[str, Any]:
    first = next((i for i, w in enumerate(config.windows) if w is not None), config.num_layers)
    return {"use_sliding_window": any(config.windows), "max_window_layers": first, **write_windows(config)}


def _read2(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    fields.choice("attention_bias", (True,), True)
    windows = _windows(fields, common["num_layers"])
    return {"qkv_bias": True, "sliding_windows": windows, **read_rope(fields, common["head_dim"])}


def _write2(config: Config) -> dict[str, Any]:
    return {**_write_windows(config), **write_rope(config)}


def _read3(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    bias = fields.flag("attention_bias", False)
    return {
        "qk_norm": True,
        "qkv_bias": bias,
        "output_bias": bias,
        "sliding_windows": _windows(fields, common["num_layers"]),
        **read_rope(fields, common["head_dim"]),
    }


def _write3(config: Config) -> dict[str, Any]:
    return {"attention_bias": config.qkv_bias, **_write_windows(config), **write_rope(config)}


_DEFAULTS = {"num_key_value_heads": 32, "max_position_embeddings": 32_768, "sliding_window": 4096}

QWEN2 = Family("qwen2", "Qwen2ForCausalLM", _read2, _write2, DECODER, defaults=_DEFAULTS)
QWEN3 = Family("qwen3", "Qwen3ForCausalLM", _read3, _write3, DECODER, defaults={**_DEFAULTS, "head_dim": 128})
