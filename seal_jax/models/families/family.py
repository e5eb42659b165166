"""What a model family is to the loaders: a translation of `config.json` and a name map, each used both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from seal_jax.models import rope
from seal_jax.models.config import Config, RopeScaling
from seal_jax.models.families.fields import Fields
from seal_jax.models.layers import ACTIVATIONS


class Family(NamedTuple):
    """One row of the registry.

    model_type, architecture: what `config.json` says.
    read: the `Config` fields that are this family's own, beyond `read_common`.
    write: the `config.json` fields that are this family's own, beyond `write_common`.
    modules: HF module name of each module of our tree, `{}` standing for the layer; see `DECODER`.
    """

    model_type: str
    architecture: str
    read: Callable[[Fields, Mapping[str, Any]], dict[str, Any]]
    write: Callable[[Config], dict[str, Any]]
    modules: Mapping[str, str]


_LAYER_MODULES = (
    "input_layernorm",
    "post_attention_layernorm",
    *(f"self_attn/{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")),
    *(f"mlp/{name}" for name in ("gate_proj", "up_proj", "down_proj")),
)
# The names that Llama introduced and most families kept. Which of them a model has is decided by its Config.
DECODER: Mapping[str, str] = {
    "embed_tokens": "model.embed_tokens",
    "norm": "model.norm",
    "lm_head": "lm_head",
    **{f"layers/{name}": f"model.layers.{{}}.{name.replace('/', '.')}" for name in _LAYER_MODULES},
}

# Fields that change what is computed, and the only values under which this package computes the same.
_ACCEPTED: Mapping[str, tuple[Any, ...]] = {
    "quantization_config": (None,),
    "num_experts": (None, 0),
    "num_local_experts": (None, 0),
    "partial_rotary_factor": (None, 1.0),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
}


def read_common(fields: Fields) -> dict[str, Any]:
    """The `Config` fields that every family spells alike. Raises CheckpointError naming an unsupported field."""
    for name, accepted in _ACCEPTED.items():
        if fields.values.get(name) not in accepted:
            raise fields.refuse(name, " or ".join("absent" if a is None else repr(a) for a in accepted))
    heads, hidden = fields.integer("num_attention_heads"), fields.integer("hidden_size")
    if fields.values.get("head_dim") is None and hidden % heads:
        raise fields.refuse("hidden_size", f"a multiple of num_attention_heads={heads}, or an explicit head_dim")
    return {
        "vocab_size": fields.integer("vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": fields.integer("intermediate_size"),
        "num_layers": fields.integer("num_hidden_layers"),
        "num_heads": heads,
        "num_kv_heads": fields.integer("num_key_value_heads", heads),
        "head_dim": fields.integer("head_dim", hidden // heads),
        "max_position": fields.integer("max_position_embeddings"),
        "activation": fields.choice("hidden_act", tuple(ACTIVATIONS), "silu"),
        "norm_eps": fields.number("rms_norm_eps", 1e-6),
        "tie_embeddings": fields.flag("tie_word_embeddings", False),
        "bos_token_id": next(iter(fields.token_ids("bos_token_id")), None),
        "eos_token_ids": fields.token_ids("eos_token_id"),
        "pad_token_id": next(iter(fields.token_ids("pad_token_id")), None),
        **_read_rope(fields),
    }


def _read_rope(fields: Fields) -> dict[str, Any]:
    """Rotary settings: `rope_theta` and `rope_scaling` of transformers 4, or both inside `rope_parameters` of 5."""
    name = "rope_scaling" if fields.values.get("rope_scaling") else "rope_parameters"
    scaling = fields.child(name)
    theta = scaling.number("rope_theta", fields.number("rope_theta", 10000.0))
    scaling.choice("partial_rotary_factor", (1.0,), 1.0)
    kinds = ("default", *rope.SCALINGS)
    kind = scaling.choice("rope_type" if "rope_type" in scaling.values else "type", kinds, "default")
    if kind == "default":
        unknown = [key for key, value in scaling.values.items() if isinstance(value, dict)]
        if unknown:
            raise scaling.refuse(unknown[0], "one set of rotary settings for all layers")
        return {"rope_theta": theta, "rope_scaling": None}
    settings: dict[str, Any] = {"factor": scaling.number("factor")}
    if kind == "llama3":
        settings["low_freq_factor"] = scaling.number("low_freq_factor")
        settings["high_freq_factor"] = scaling.number("high_freq_factor")
        settings["original_max_position"] = scaling.integer(
            "original_max_position_embeddings", fields.integer("max_position_embeddings")
        )
    return {"rope_theta": theta, "rope_scaling": RopeScaling(kind, **settings)}


def write_common(config: Config) -> dict[str, Any]:
    """The inverse of `read_common`, in the spelling that transformers 4 and 5 both read."""
    eos = list(config.eos_token_ids)
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_position,
        "hidden_act": config.activation,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": _write_rope(config.rope_scaling),
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": eos if len(eos) > 1 else next(iter(eos), None),
        "pad_token_id": config.pad_token_id,
    }


def _write_rope(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    written: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        written["low_freq_factor"] = scaling.low_freq_factor
        written["high_freq_factor"] = scaling.high_freq_factor
        written["original_max_position_embeddings"] = scaling.original_max_position
    return written
