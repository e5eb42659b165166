"""Decoder-only language models: one definition, configured per family, with HF checkpoints in and out."""

from seal_jax.models.cache import Cache, Shared, init_cache
from seal_jax.models.config import Config, RopeScaling
from seal_jax.models.errors import CheckpointError
from seal_jax.models.hf import Model, from_pretrained, save_pretrained
from seal_jax.models.merge import merge_checkpoint
from seal_jax.models.peft import load_peft, load_peft_stack, save_peft, save_peft_stack
from seal_jax.models.transformer import (
    Params,
    forward,
    forward_cached,
    hidden_cached,
    hidden_states,
    init,
    stack,
    unembed,
    unroll,
)

__all__ = [
    "Cache",
    "CheckpointError",
    "Config",
    "Model",
    "Params",
    "RopeScaling",
    "Shared",
    "forward",
    "forward_cached",
    "from_pretrained",
    "hidden_cached",
    "hidden_states",
    "init",
    "init_cache",
    "load_peft",
    "load_peft_stack",
    "merge_checkpoint",
    "save_peft",
    "save_peft_stack",
    "save_pretrained",
    "stack",
    "unembed",
    "unroll",
]
