"""Gemma 1, Gemma 2 (soft caps, norms after attention and MLP) and Gemma 3 (query and key norms, two rotary bases).

All multiply embedded tokens by the square root of the hidden size and norms by 1 + weight. Of Gemma 3 with a vision
tower (`gemma3`: 4B and larger as published) the decoder is read, and written as the text model it is (`gemma3_text`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seal_jax.models.config import Config, RopeScaling
from seal_jax.models.families.family import DECODER, Family, decoder_modules
from seal_jax.models.families.fields import Fields
from seal_jax.models.families.rotary import (
    context,
    kind_of,
    read_rope,
    read_scaling,
    rope_object,
    stated_context,
    write_rope,
    write_scaling,
)
from seal_jax.models.families.windows import FULL, SLIDING, read_windows, write_windows

_GLOBAL_THETA, _LOCAL_THETA = 1_000_000.0, 10_000.0  # of Gemma 3, where its config.json has none


def _read(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    """What all Gemma models share."""
    fields.choice("use_bidirectional_attention", (False,), False)
    bias = fields.flag("attention_bias", False)
    return {
        "norm_offset": 1.0,
        "embedding_scale": common["hidden_size"] ** 0.5,
        "qkv_bias": bias,
        "output_bias": bias,
    }


def _read1(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    # The first releases say "gelu" and mean its tanh approximation.
    activation = "gelu_pytorch_tanh" if common["activation"] == "gelu" else common["activation"]
    fields.choice("hidden_activation", (activation,), activation)
    return {**_read(fields, common), "activation": activation, **read_rope(fields, common["head_dim"])}


def _write1(config: Config) -> dict[str, Any]:
    return {"attention_bias": config.qkv_bias, "hidden_activation": config.activation, **write_rope(config)}


def _read_layers(fields: Fields, common: Mapping[str, Any], pattern: int) -> dict[str, Any]:
    """What Gemma 2 and 3 share: every `pattern`-th layer attends to everything, the others have a window."""
    fields.choice("hidden_act", (common["activation"],), common["activation"])  # Gemma 2 as published has both
    window = fields.integer("sliding_window")
    return {
        **_read(fields, common),
        "residual": "sandwich",
        "query_scalar": fields.number("query_pre_attn_scalar", 256.0),
        "logit_softcap": fields.number("final_logit_softcapping", None),
        "sliding_windows": read_windows(fields, common["num_layers"], window, lambda i: (i + 1) % pattern > 0),
    }


def _write_layers(config: Config) -> dict[str, Any]:
    scalar = config.head_dim if config.query_scalar is None else config.query_scalar
    return {
        "attention_bias": config.qkv_bias,
        "query_pre_attn_scalar": int(scalar) if float(scalar).is_integer() else scalar,
        "final_logit_softcapping": config.logit_softcap,
        **write_windows(config, default=4096),
    }


def _read2(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    softcap = fields.number("attn_logit_softcapping", None)
    rope = read_rope(fields, common["head_dim"])
    return {**_read_layers(fields, common, pattern=2), "attention_softcap": softcap, **rope}


def _write2(config: Config) -> dict[str, Any]:
    return {**_write_layers(config), "attn_logit_softcapping": config.attention_softcap, **write_rope(config)}


def _read3(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    fields.ignore("attn_logit_softcapping", "transformers does not apply it in Gemma 3")
    pattern = fields.integer("sliding_window_pattern", fields.integer("_sliding_window_pattern", 6))
    return {**_read_layers(fields, common, pattern), "qk_norm": True, **_read_two_ropes(fields, common["head_dim"])}


def _read_two_ropes(fields: Fields, dim: int) -> dict[str, Any]:
    """Rotary settings of full layers and of those with a window: one set each in `rope_parameters` of transformers 5,
    `rope_theta` with `rope_scaling` and `rope_local_base_freq` of 4."""
    both = fields.child("rope_parameters")
    for name in both.values:
        if name not in (FULL, SLIDING):
            raise both.refuse(name, f"{FULL!r} and {SLIDING!r}, each with its own settings")
    full, window = both.child(FULL), both.child(SLIDING)
    scaling = rope_object(fields) if fields.child("rope_scaling").values else full
    for each in (scaling, window):
        each.choice("truncate", (True,), True)  # transformers looks for it where it is not
    theta = fields.number("rope_theta", _GLOBAL_THETA)
    found, local = (read_scaling(each, fields, dim, _share(each)) for each in (scaling, window))
    return {
        "max_position": context(fields.integer("max_position_embeddings"), found),
        "rope_theta": scaling.number("rope_theta", full.number("rope_theta", theta)),
        "rope_scaling": found,
        "window_rope_theta": window.number("rope_theta", fields.number("rope_local_base_freq", _LOCAL_THETA)),
        "window_rope_scaling": local,
    }


def _share(scaling: Fields) -> float:
    """The share of channel pairs that turn: other than 1 for one kind of scaling only."""
    share = scaling.number("partial_rotary_factor", 1.0)
    return share if kind_of(scaling) == "proportional" else scaling.choice("partial_rotary_factor", (1.0,), 1.0)


def _write3(config: Config) -> dict[str, Any]:
    values = {**_write_layers(config), "attn_logit_softcapping": None}
    if config.window_rope_scaling is None:  # as transformers 4 reads it too
        return {**values, **write_rope(config), "rope_local_base_freq": config.window_rope_theta}
    full = _write_set(config.rope_theta, config.rope_scaling)
    return {
        **values,
        "max_position_embeddings": stated_context(config),
        "rope_parameters": {FULL: full, SLIDING: _write_set(config.window_rope_theta, config.window_rope_scaling)},
    }


def _write_set(theta: float | None, scaling: RopeScaling | None) -> dict[str, Any]:
    return {"rope_theta": theta, **(write_scaling(scaling) or {"rope_type": "default"})}


def _read3_with_vision(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    fields.ignore("final_logit_softcapping", "transformers does not apply it in Gemma 3 with a vision tower")
    return {**_read3(fields, common), "logit_softcap": None}


_DEFAULTS = {
    "tie_word_embeddings": True,
    "head_dim": 256,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
_DEFAULTS1 = {
    **_DEFAULTS,
    "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "num_key_value_heads": 16,
}
_DEFAULTS2 = {
    **_DEFAULTS,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
_DEFAULTS3 = {
    **_DEFAULTS2,
    "max_position_embeddings": 131_072,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
}
# The published files with a vision tower leave out what transformers has as the default.
_DEFAULTS3_WITH_VISION = {
    **_DEFAULTS3,
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
}
_KEYS = {"activation": "hidden_activation"}

GEMMA = Family("gemma", "GemmaForCausalLM", _read1, _write1, DECODER, defaults=_DEFAULTS1)
GEMMA2 = Family("gemma2", "Gemma2ForCausalLM", _read2, _write2, DECODER, _KEYS, _DEFAULTS2)
GEMMA3 = Family("gemma3_text", "Gemma3ForCausalLM", _read3, _write3, DECODER, _KEYS, _DEFAULTS3)
GEMMA3_WITH_VISION = Family(
    "gemma3",
    "Gemma3ForConditionalGeneration",
    _read3_with_vision,
    _write3,
    decoder_modules("model.language_model"),
    _KEYS,
    _DEFAULTS3_WITH_VISION,
    harmless=frozenset(
        ("vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index")
    ),
    tensors=(
        (r"^(model\.)?(vision_tower|multi_modal_projector)\.", None),
        (r"^language_model\.model\.", "model.language_model."),
        (r"^language_model\.lm_head\.", "lm_head."),
    ),
    text="text_config",
    written_as="gemma3_text",
)
