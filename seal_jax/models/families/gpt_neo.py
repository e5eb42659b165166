"""GPT-Neo: learned positions, layers that attend to a window in turn with full ones, attention logits not scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seal_jax.models.config import Config
from seal_jax.models.families.family import Family
from seal_jax.models.families.fields import Fields

_LAYER = "transformer.h.{}"
_MODULES = {
    "embed_tokens": "transformer.wte",
    "embed_positions": "transformer.wpe",
    "norm": "transformer.ln_f",
    "lm_head": "lm_head",
    "layers/input_layernorm": f"{_LAYER}.ln_1",
    "layers/post_attention_layernorm": f"{_LAYER}.ln_2",
    **{f"layers/self_attn/{name}": f"{_LAYER}.attn.attention.{name}" for name in ("q_proj", "k_proj", "v_proj")},
    "layers/self_attn/o_proj": f"{_LAYER}.attn.attention.out_proj",
    "layers/mlp/up_proj": f"{_LAYER}.mlp.c_fc",
    "layers/mlp/down_proj": f"{_LAYER}.mlp.c_proj",
}
_GLOBAL, _LOCAL = "global", "local"


def _read(fields: Fields, common: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "intermediate_size": fields.integer("intermediate_size", 4 * common["hidden_size"]),
        "norm": "layer",
        "rotary_dim": 0,
        "learned_positions": True,
        "query_scalar": 1.0,
        "gated_mlp": False,
        "output_bias": True,
        "mlp_bias": True,
        "sliding_windows": _windows(fields, common["num_layers"]),
    }


def _windows(fields: Fields, layers: int) -> tuple[int | None, ...] | None:
    """`attention_types`, as in [[["global", "local"], 12]]: each list of types is repeated so many times."""
    window = fields.integer("window_size", 256)
    types = fields.raw("attention_types", [[[_GLOBAL, _LOCAL], 12]])
    try:
        kinds = [kind for group, times in types for _ in range(times) for kind in group]
    except (TypeError, ValueError):
        kinds = []
    if len(kinds) != layers or any(kind not in (_GLOBAL, _LOCAL) for kind in kinds):
        raise fields.refuse(
            "attention_types", f"[[types, times], ...] of {_GLOBAL!r} and {_LOCAL!r} for {layers} layers"
        )
    fields.choice("attention_layers", (kinds,), kinds)  # the same, written out
    windows = tuple(window if kind == _LOCAL else None for kind in kinds)
    return windows if any(windows) else None


def _write(config: Config) -> dict[str, Any]:
    kinds = [_GLOBAL if w is None else _LOCAL for w in config.windows]
    return {
        "intermediate_size": config.intermediate_size,
        "attention_types": [[_shortest(kinds), len(kinds) // len(_shortest(kinds))]],
        "attention_layers": kinds,
        "window_size": next((w for w in config.windows if w is not None), 256),
    }


def _shortest(kinds: Sequence[str]) -> list[str]:
    """The shortest beginning of a sequence that is the whole of it when repeated."""
    lengths = (n for n in range(1, len(kinds) + 1) if len(kinds) % n == 0)
    return next(list(kinds[:n]) for n in lengths if list(kinds[:n]) * (len(kinds) // n) == list(kinds))


GPT_NEO = Family(
    "gpt_neo",
    "GPTNeoForCausalLM",
    _read,
    _write,
    _MODULES,
    keys={
        "intermediate_size": None,
        "num_layers": "num_layers",
        "num_heads": "num_heads",
        "num_kv_heads": None,
        "head_dim": None,
        "activation": "activation_function",
        "norm_eps": "layer_norm_epsilon",
    },
    defaults={
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
    },
    harmless=frozenset(
        f"summary_{name}" for name in ("type", "use_proj", "activation", "proj_to_labels", "first_dropout")
    ),
    tensors=((r"\.attn\.attention\.(bias|masked_bias)$", None),),
)
