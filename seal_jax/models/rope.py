"""Rotary position embeddings (arXiv 2104.09864) and their frequency scalings."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.models.config import Config, RopeScaling


def inverse_frequencies(config: Config) -> np.ndarray:
    """Angular frequency of each channel pair in radians per token: float32 `[head_dim / 2]`."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    if config.rope_scaling is not None:
        frequencies = SCALINGS[config.rope_scaling.kind](frequencies, config.rope_scaling)
    return frequencies.astype(np.float32)


def _linear(frequencies: np.ndarray, scaling: RopeScaling) -> np.ndarray:
    return frequencies / scaling.factor


def _llama3(frequencies: np.ndarray, scaling: RopeScaling) -> np.ndarray:
    """Llama 3.1/3.2: keep the fast channels, slow the slow ones down by `factor`, blend in between."""
    turns = scaling.original_max_position * frequencies / (2 * math.pi)  # full turns over the original context
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = np.clip(blend, 0.0, 1.0)
    return (1 - blend) * frequencies / scaling.factor + blend * frequencies


SCALINGS: dict[str, Callable[[np.ndarray, RopeScaling], np.ndarray]] = {"linear": _linear, "llama3": _llama3}


def rotation(config: Config, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines, float32 `[B, T, 1, head_dim / 2]`, of int32 positions `[B, T]`."""
    frequencies = jnp.expand_dims(inverse_frequencies(config), (0, 1, 2))
    angles = positions.astype(jnp.float32)[..., None, None] * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Turn the channel pairs (i, i + head_dim/2) of `x` `[B, T, heads, head_dim]`, as the HF checkpoints expect."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)
