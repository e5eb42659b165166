"""Singular-value adapters (SVF, arXiv 2501.06252): one learned scalar per singular value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seal_jax.adapters.attach import Adapter
from seal_jax.adapters.targets import select


def factor(params: Any, targets: Sequence[str] = ("mlp",)) -> Adapter:
    """Reduced SVD of every targeted kernel: `{path: {"u" [L, in, k], "s" [L, k], "vt" [L, k, out]}}`.

    Computed and kept in float32 for `s`; `u` and `vt` take the dtype of the kernel.
    """
    factors = {}
    for path, kernel in select(params, targets).items():
        u, s, vt = jnp.linalg.svd(kernel.astype(jnp.float32), full_matrices=False)
        factors[path] = {"u": u.astype(kernel.dtype), "s": s, "vt": vt.astype(kernel.dtype)}
    return factors


def init(key: jax.Array, factors: Adapter, mean: float = 0.1, std: float = 0.01) -> Adapter:
    """A fresh expert `{path: {"raw" [L, k]}}`, float32, normal(mean, std); `z = sigmoid(raw)`. `key` is consumed."""
    keys = jax.random.split(key, max(len(factors), 1))
    return {
        path: {"raw": mean + std * jax.random.normal(k, f["s"].shape, jnp.float32)}
        for k, (path, f) in zip(keys, factors.items())
    }
