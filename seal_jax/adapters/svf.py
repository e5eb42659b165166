"""Singular-value adapters (SVF, arXiv 2501.06252): one learned scalar per singular value."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seal_jax.adapters.attach import Adapter
from seal_jax.adapters.factors import discarded_energy, factor, shapes, size_of
from seal_jax.adapters.forms import break_even, cheapest_form
from seal_jax.adapters.svf_cache import cached_factors

__all__ = [
    "break_even",
    "cached_factors",
    "cheapest_form",
    "discarded_energy",
    "factor",
    "init",
    "shapes",
    "size_of",
]


def init(key: jax.Array, factors: Adapter, mean: float = 0.1, std: float = 0.01) -> Adapter:
    """A fresh expert `{path: {"raw" [L, k]}}`, float32, normal(mean, std); `z = sigmoid(raw)`. `key` is consumed."""
    keys = jax.random.split(key, max(len(factors), 1))
    return {
        path: {"raw": mean + std * jax.random.normal(k, f["s"].shape, jnp.float32)}
        for k, (path, f) in zip(keys, factors.items())
    }
