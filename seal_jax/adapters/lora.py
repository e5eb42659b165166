"""LoRA adapters (arXiv 2106.09685) as a flat tree of factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seal_jax.adapters.attach import Adapter
from seal_jax.adapters.targets import select


def init(
    key: jax.Array,
    params: Any,
    rank: int = 32,
    alpha: float = 64.0,
    targets: Sequence[str] = ("q_proj", "v_proj"),
) -> Adapter:
    """A fresh adapter: `{path: {"a" [L, in, r], "b" [L, r, out], "scale" [L]}}`, all float32.

    `a` is uniform in +-1/sqrt(in) (Kaiming with a=sqrt(5), as PEFT does), `b` zero, so it starts as the base model.
    `scale = alpha / rank` is a setting and is never trained. `key` is consumed; each path draws from its own
    `fold_in`, so adding a target does not change the others' draws. params: stacked parameters.
    """
    if rank < 1:
        raise ValueError(f"rank={rank}: a LoRA adapter has rank 1 or more")
    adapter = {}
    for path, kernel in select(params, targets).items():
        *stack, fan_in, fan_out = kernel.shape
        bound = fan_in**-0.5
        path_key = jax.random.fold_in(key, _stable_hash(path))
        adapter[path] = {
            "a": jax.random.uniform(path_key, (*stack, fan_in, rank), jnp.float32, -bound, bound),
            "b": jnp.zeros((*stack, rank, fan_out), jnp.float32),
            "scale": jnp.full(tuple(stack), alpha / rank, jnp.float32),
        }
    return adapter


def _stable_hash(text: str) -> int:
    """FNV-1a, 32 bits: Python's own hash of a string changes from process to process."""
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) % 2**32
    return value
