"""What a model family is to the loaders: a translation of `config.json` and a name map, each used both ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from seal_jax.models.config import Config
from seal_jax.models.families.fields import Fields
from seal_jax.models.layers import ACTIVATIONS


class Family(NamedTuple):
    """One row of the registry.

    model_type, architecture: what `config.json` says.
    read: the `Config` fields that are this family's own, beyond `read_common`.
    write: the `config.json` fields that are this family's own, beyond `write_common`.
    modules: HF module name of each module of our tree, `{}` standing for the layer; see `DECODER`.
    keys: what `config.json` calls the fields of `COMMON` that this family spells its own way; None: it has none.
    defaults: values of `config.json` fields where they are absent, as transformers has them for this family.
    harmless: further fields of its `config.json` that change nothing.
    tensors: patterns of tensor names in files and what to put in place; None for tensors that are not wanted.
    live: modules that a loaded transformers model calls otherwise than its files, as adapters name them.
    text: where a model that is more than text has the settings of its decoder; it is written as family `written_as`.
    """

    model_type: str
    architecture: str
    read: Callable[[Fields, Mapping[str, Any]], dict[str, Any]]
    write: Callable[[Config], dict[str, Any]]
    modules: Mapping[str, str]
    keys: Mapping[str, str | None] = {}
    defaults: Mapping[str, Any] = {}
    harmless: frozenset[str] = frozenset()
    tensors: tuple[tuple[str, str | None], ...] = ()
    live: Mapping[str, str] = {}
    text: str | None = None
    written_as: str | None = None

    def tensor_name(self, stored: str) -> str | None:
        """The name by which `modules` knows a tensor of a file; None for one that is not wanted."""
        for pattern, name in (*self.tensors, (r"rotary_emb\.inv_freq$", None)):
            if re.search(pattern, stored):
                return None if name is None else re.sub(pattern, name, stored)
        return stored


LAYER_MODULES = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
    *(f"self_attn/{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")),
    *(f"mlp/{name}" for name in ("gate_proj", "up_proj", "down_proj")),
)


def decoder_modules(prefix: str = "model") -> dict[str, str]:
    """The names that Llama introduced and most families kept, the decoder being the module `prefix`.

    Which of them a model has is decided by its Config.
    """
    return {
        "embed_tokens": f"{prefix}.embed_tokens",
        "norm": f"{prefix}.norm",
        "lm_head": "lm_head",
        **{f"layers/{name}": f"{prefix}.layers.{{}}.{name.replace('/', '.')}" for name in LAYER_MODULES},
    }


DECODER: Mapping[str, str] = decoder_modules()

# Config field -> config.json field, of the fields that every family has in some spelling.
COMMON: Mapping[str, str] = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "max_position": "max_position_embeddings",
    "activation": "hidden_act",
    "norm_eps": "rms_norm_eps",
    "tie_embeddings": "tie_word_embeddings",
}

_MOST_LAYERS = 10_000
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "max_position")


def read_common(fields: Fields, keys: Mapping[str, str | None]) -> dict[str, Any]:
    """The `Config` fields of COMMON and the special tokens. Raises CheckpointError naming a field that is wrong.

    Of fields that the family does not have, `num_kv_heads` and `head_dim` follow from the others.
    """
    names = {field: name for field, name in {**COMMON, **keys}.items() if name is not None}
    sizes = {field: fields.integer(names[field]) for field in _SIZES if field in names}
    if sizes["num_layers"] > _MOST_LAYERS:  # each takes memory before any tensor is looked for
        raise fields.refuse(names["num_layers"], f"{_MOST_LAYERS} at most")
    heads, hidden = sizes["num_heads"], sizes["hidden_size"]
    head_dim = fields.integer(names["head_dim"], None) if "head_dim" in names else None
    if head_dim is None and hidden % heads:
        raise fields.refuse("hidden_size", f"a multiple of {names['num_heads']}={heads}, or an explicit head_dim")
    padless = fields.raw("pad_token_id") == -1  # the first conversions of LLaMA have it, for none
    return {
        **sizes,
        "num_kv_heads": fields.integer(names["num_kv_heads"], heads) if "num_kv_heads" in names else heads,
        "head_dim": head_dim or hidden // heads,
        "activation": fields.choice(names["activation"], tuple(ACTIVATIONS), "silu"),
        "norm_eps": fields.number(names["norm_eps"], 1e-6),
        "tie_embeddings": fields.flag(names["tie_embeddings"], False),
        "bos_token_id": next(iter(fields.token_ids("bos_token_id")), None),
        "eos_token_ids": fields.token_ids("eos_token_id"),
        "pad_token_id": None if padless else next(iter(fields.token_ids("pad_token_id")), None),
    }


def write_common(config: Config, keys: Mapping[str, str | None]) -> dict[str, Any]:
    """The inverse of `read_common`."""
    names = {**COMMON, **keys}
    eos = list(config.eos_token_ids)
    return {
        **{name: getattr(config, field) for field, name in names.items() if name is not None},
        "bos_token_id": config.bos_token_id,
        "eos_token_id": eos if len(eos) > 1 else next(iter(eos), None),
        "pad_token_id": config.pad_token_id,
    }
