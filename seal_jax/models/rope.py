"""Rotary position embeddings (arXiv 2104.09864) and their frequency scalings, as transformers computes them.

Two scalings depend on how long the sequence is: `dynamic` and `longrope`. The length is that of each row, its largest
position plus one, so that no row depends on the others of its batch. (transformers takes the longest row's for all; one
row at a time gives the same numbers.) Under a key/value cache each call turns its own queries and keys by its own
length, and keys that are cached already stay as they were turned: a sequence fed in parts may so differ from one fed
whole, as it does there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.models.config import Config, RopeScaling

Rotation = tuple[jax.Array, jax.Array]


class _Setting(NamedTuple):
    """What a scaling starts from: `plain` float64 `[dim / 2]` in radians per token, and what they were made of."""

    plain: np.ndarray
    dim: int
    theta: float
    scaling: RopeScaling
    length: jax.Array | int


def _linear(s: _Setting) -> np.ndarray:
    return s.plain / s.scaling.factor


def _llama3(s: _Setting) -> np.ndarray:
    """Llama 3.1/3.2: keep the fast channels, slow the slow ones down by `factor`, blend in between."""
    turns = s.scaling.original_max_position * s.plain / (2 * math.pi)  # full turns over the original context
    blend = (turns - s.scaling.low_freq_factor) / (s.scaling.high_freq_factor - s.scaling.low_freq_factor)
    blend = np.clip(blend, 0.0, 1.0)
    return (1 - blend) * s.plain / s.scaling.factor + blend * s.plain


def _yarn(s: _Setting) -> np.ndarray:
    """YaRN (arXiv 2309.00071): as `_llama3`, with the blend linear in the channel rather than in its frequency."""

    def channel(turns: float) -> float:
        """The channel pair that turns `turns` times over the original context."""
        return s.dim * math.log(s.scaling.original_max_position / (turns * 2 * math.pi)) / (2 * math.log(s.theta))

    low, high = channel(s.scaling.beta_fast), channel(s.scaling.beta_slow)
    if s.scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, s.dim - 1)
    slow = np.clip((np.arange(len(s.plain)) - low) / (high - low or 0.001), 0.0, 1.0)
    return s.plain * (slow / s.scaling.factor + 1 - slow)


def _longrope(s: _Setting) -> jax.Array:
    """LongRoPE (arXiv 2402.13753): two sets of factors, for sequences within and beyond the original context."""
    short, long = (s.plain / np.asarray(f) for f in (s.scaling.short_factor, s.scaling.long_factor))
    short, long = jnp.asarray(short, jnp.float32), jnp.asarray(long, jnp.float32)
    return jnp.where(s.length > s.scaling.original_max_position, long, short)


def _dynamic(s: _Setting) -> jax.Array:
    """Dynamic NTK: a base that grows with what the sequence has beyond the original context."""
    stretch = jnp.maximum(jnp.asarray(s.length, jnp.float32) / s.scaling.original_max_position, 1.0)
    stretch = s.scaling.factor * stretch - (s.scaling.factor - 1)
    exponents = np.arange(0, s.dim, 2) / (s.dim - 2)  # of theta * stretch ** (dim / (dim - 2))
    return jnp.asarray(s.plain, jnp.float32) * stretch ** jnp.asarray(-exponents, jnp.float32)


def _proportional(s: _Setting) -> np.ndarray:
    """Only the first `proportion` of the channel pairs turn."""
    turning = int(s.scaling.proportion * s.dim // 2)
    return np.where(np.arange(len(s.plain)) < turning, s.plain, 0.0) / s.scaling.factor


SCALINGS: dict[str, Callable[[_Setting], np.ndarray | jax.Array]] = {
    "linear": _linear,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "longrope": _longrope,
    "llama3": _llama3,
    "proportional": _proportional,
}


def attention_factor(scaling: RopeScaling | None) -> float:
    """What cosines and sines are multiplied by: other than 1 only for `yarn` and `longrope`."""
    if scaling is None or scaling.kind not in ("yarn", "longrope"):
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.factor <= 1:
        return 1.0
    log = math.log(scaling.factor)
    if scaling.kind == "longrope":
        return math.sqrt(1 + log / math.log(scaling.original_max_position))
    if scaling.mscale and scaling.mscale_all_dim:
        return (0.1 * scaling.mscale * log + 1) / (0.1 * scaling.mscale_all_dim * log + 1)
    return 0.1 * log + 1


BY_LENGTH = ("dynamic", "longrope")


def inverse_frequencies(config: Config, length: jax.Array | int = 1, *, window: bool = False) -> np.ndarray | jax.Array:
    """Angular frequency of each channel pair in radians per token: float32 `[turned / 2]`.

    length: of the sequence in tokens, int32 `[]`, for the scalings that depend on it. window: of the layers
    that have an attention window.
    """
    theta, scaling = _rope_of(config, window)
    dim = config.head_dim if config.rotary_dim is None else config.rotary_dim
    plain = 1.0 / theta ** (np.arange(0, dim, 2, dtype=np.float64) / dim)
    if scaling is None:
        return plain.astype(np.float32)
    return SCALINGS[scaling.kind](_Setting(plain, dim, theta, scaling, length)).astype(np.float32)


def _rope_of(config: Config, window: bool) -> tuple[float, RopeScaling | None]:
    if window and config.window_rope_theta is not None:
        return config.window_rope_theta, config.window_rope_scaling
    return config.rope_theta, config.rope_scaling


def rotation(config: Config, positions: jax.Array, *, window: bool = False) -> Rotation | None:
    """Cosines and sines, float32 `[B, T, 1, turned / 2]`, of int32 positions `[B, T]`; None where nothing turns.

    window: of the layers that have an attention window.
    """
    if not config.turned:
        return None
    scaling = _rope_of(config, window)[1]
    if scaling is not None and scaling.kind in BY_LENGTH:
        lengths = jnp.max(positions, axis=-1, initial=0) + 1
        frequencies = jax.vmap(lambda length: inverse_frequencies(config, length, window=window))(lengths)
        frequencies = frequencies[:, None, None]
    else:
        frequencies = jnp.expand_dims(inverse_frequencies(config, window=window), (0, 1, 2))
    angles = positions.astype(jnp.float32)[..., None, None] * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    factor = attention_factor(scaling)
    return (cos, sin) if factor == 1 else (cos * factor, sin * factor)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Turn the channel pairs (i, i + n) of `x` `[B, T, heads, head_dim]`, as the HF checkpoints expect.

    n is the last axis of `cos` and `sin`; channels from 2 n on stay as they are.
    """
    half = cos.shape[-1]
    turning, rest = x[..., : 2 * half], x[..., 2 * half :]
    first, second = jnp.split(turning.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)
    return jnp.concatenate([turned, rest], axis=-1) if rest.shape[-1] else turned
