"""Decoder-only language models: one definition, configured per family, with HF checkpoints in and out."""

from seal_jax.models.cache import Cache, init_cache
from seal_jax.models.config import Config, RopeScaling
from seal_jax.models.transformer import (
    Params,
    forward,
    forward_cached,
    hidden_states,
    init,
    stack,
    unembed,
    unroll,
)

__all__ = [
    "Cache",
    "Config",
    "Params",
    "RopeScaling",
    "forward",
    "forward_cached",
    "hidden_states",
    "init",
    "init_cache",
    "stack",
    "unembed",
    "unroll",
]
