"""Mistral 7B: Llama with the same attention window in every layer, and no biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seal_jax.models.config import Config
from seal_jax.models.families.family import DECODER, Family
from seal_jax.models.families.fields import Fields

_DEFAULT_WINDOW = 4096  # of a config.json that does not have the field; null means full attention


def _read(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    fields.choice("attention_bias", (False,), False)
    window = fields.integer("sliding_window", None) if "sliding_window" in fields.values else _DEFAULT_WINDOW
    return {"sliding_windows": None if window is None else (window,) * common["num_layers"]}


def _write(config: Config) -> dict[str, Any]:
    return {"sliding_window": config.windows[0]}


MISTRAL = Family("mistral", "MistralForCausalLM", _read, _write, DECODER)
