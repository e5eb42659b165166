"""Qwen2, Qwen2.5 (query, key and value biases) and Qwen3 (query and key norms); some layers may have a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seal_jax.models.config import Config
from seal_jax.models.families.family import DECODER, Family
from seal_jax.models.families.fields import Fields

_FULL, _SLIDING = "full_attention", "sliding_attention"


def _windows(fields: Fields, layers: int) -> tuple[int | None, ...] | None:
    """The window of each layer: `layer_types` where given, else every layer from `max_window_layers` on slides."""
    if not fields.flag("use_sliding_window", False):
        return None
    window = fields.integer("sliding_window", 4096)
    first = fields.values.get("max_window_layers", 28)
    if isinstance(first, bool) or not isinstance(first, int):
        raise fields.refuse("max_window_layers", "a number of layers")
    types = fields.values.get("layer_types") or [_SLIDING if i >= first else _FULL for i in range(layers)]
    if len(types) != layers or any(t not in (_FULL, _SLIDING) for t in types):
        raise fields.refuse("layer_types", f"{layers} entries, each {_FULL!r} or {_SLIDING!r}")
    windows = tuple(window if t == _SLIDING else None for t in types)
    return windows if any(windows) else None


def _write_windows(config: Config) -> dict[str, Any]:
    sliding = [w for w in config.windows if w is not None]
    return {
        "use_sliding_window": bool(sliding),
        "sliding_window": sliding[0] if sliding else None,
        "max_window_layers": next((i for i, w in enumerate(config.windows) if w is not None), config.num_layers),
        "layer_types": [_FULL if w is None else _SLIDING for w in config.windows],
    }


def _read2(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    fields.choice("attention_bias", (True,), True)
    return {"qkv_bias": True, "sliding_windows": _windows(fields, common["num_layers"])}


def _read3(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    bias = fields.flag("attention_bias", False)
    return {
        "head_dim": fields.integer("head_dim", 128),  # not hidden_size / heads, as elsewhere
        "qk_norm": True,
        "qkv_bias": bias,
        "output_bias": bias,
        "sliding_windows": _windows(fields, common["num_layers"]),
    }


def _write3(config: Config) -> dict[str, Any]:
    return {"attention_bias": config.qkv_bias, **_write_windows(config)}


QWEN2 = Family("qwen2", "Qwen2ForCausalLM", _read2, _write_windows, DECODER)
QWEN3 = Family("qwen3", "Qwen3ForCausalLM", _read3, _write3, DECODER)
