"""How much memory a model, its cache and its activations take: arithmetic on a `Config`, no array is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from seal_jax.models.config import Config
from seal_jax.models.transformer import Params, init


def abstract_params(config: Config, dtype: str | jnp.dtype = "float32") -> Params:
    """The stacked parameter tree of a config with `jax.ShapeDtypeStruct` leaves; nothing is allocated."""
    return jax.eval_shape(partial(init, config=config, dtype=jnp.dtype(dtype)), jax.random.key(0))


def count(tree: object) -> int:
    """Numbers in a tree of arrays or of their shapes."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def weight_bytes(config: Config, dtype: str | jnp.dtype, axes: Mapping[str, int]) -> int:
    """Bytes of the parameters on each device of a mesh with these axes, taking every leaf to be split by them."""
    return count(abstract_params(config)) * jnp.dtype(dtype).itemsize // (axes["fsdp"] * axes["model"])


def cache_bytes(config: Config, rows: int, slots: int, itemsize: int) -> int:
    """Keys and values of `rows` sequences of `slots` tokens, in bytes; itemsize: bytes of a number of the model."""
    return 2 * config.num_layers * rows * slots * config.num_kv_heads * config.head_dim * itemsize


def activation_bytes(config: Config, rows: int, length: int, itemsize: int, remat: bool = False) -> int:
    """An estimate of what one forward pass over `[rows, length]` tokens keeps for its backward pass, in bytes.

    Without `remat` every layer keeps its intermediate results, the attention weights among them; with it a layer keeps
    its input, and one layer at a time is computed again. Logits are not part of it (see `training.loss`). Compiled
    scanned programs in float32 took 1.0 to 1.2 times the estimate; XLA on a CPU holds float32 copies beside bfloat16.
    """
    tokens = rows * length
    wide = config.num_heads * config.head_dim + config.num_kv_heads * config.head_dim
    kept = 6 * config.hidden_size + 3 * wide + 4 * config.intermediate_size
    layer = tokens * (kept * itemsize + 2 * 4 * config.hidden_size) + tokens * length * config.num_heads * (
        4 + itemsize
    )
    if remat:
        return config.num_layers * tokens * config.hidden_size * itemsize + layer
    return config.num_layers * layer
