"""GPT-NeoX and Pythia: parallel residual by option, rotary positions on part of a head, query, key and value fused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seal_jax.models.config import Config
from seal_jax.models.families.family import Family
from seal_jax.models.families.fields import Fields
from seal_jax.models.families.rotary import read_rope, rope_object, write_context, write_share

_LAYER = "gpt_neox.layers.{}"
_MODULES = {
    "embed_tokens": "gpt_neox.embed_in",
    "norm": "gpt_neox.final_layer_norm",
    "lm_head": "embed_out",
    "layers/input_layernorm": f"{_LAYER}.input_layernorm",
    "layers/post_attention_layernorm": f"{_LAYER}.post_attention_layernorm",
    "layers/self_attn/query_key_value": f"{_LAYER}.attention.query_key_value",
    "layers/self_attn/o_proj": f"{_LAYER}.attention.dense",
    "layers/mlp/up_proj": f"{_LAYER}.mlp.dense_h_to_4h",
    "layers/mlp/down_proj": f"{_LAYER}.mlp.dense_4h_to_h",
}
_SHARE, _THETA = "rotary_pct", "rotary_emb_base"


def _read(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    bias = fields.flag("attention_bias", True)
    rope = read_rope(fields, common["head_dim"], theta=_THETA, share=_SHARE, default_share=0.25, partial=True)
    for copy, name, default in (("rope_theta", _THETA, 10000.0), ("partial_rotary_factor", _SHARE, 0.25)):
        value = rope_object(fields).number(copy, fields.number(name, default))
        fields.choice(copy, (value,), value)  # transformers 4 writes both, and they agree
    return {
        "norm": "layer",
        "residual": "parallel" if fields.flag("use_parallel_residual", True) else "sequential",
        "gated_mlp": False,
        "fused_qkv": True,
        "qkv_bias": bias,
        "output_bias": bias,
        "mlp_bias": True,
        **rope,
    }


def _write(config: Config) -> dict[str, Any]:
    return {
        "attention_bias": config.qkv_bias,
        "use_parallel_residual": config.residual == "parallel",
        _THETA: config.rope_theta,
        _SHARE: write_share(config),
        **write_context(config),
    }


GPT_NEOX = Family(
    "gpt_neox",
    "GPTNeoXForCausalLM",
    _read,
    _write,
    _MODULES,
    keys={"norm_eps": "layer_norm_eps", "num_kv_heads": None, "head_dim": None},
    defaults={
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 2048,
        "bos_token_id": 0,
        "eos_token_id": 2,
    },
    tensors=((r"\.attention\.(bias|masked_bias)$", None), (r"^lm_head\.", "embed_out.")),
    live={"embed_out": "lm_head"},
)
