"""Which leaves of an adapter are trained, and how a trained tree joins the base model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax

from seal_jax import models

AttachFn: TypeAlias = Callable[[Any, Any, Any], Any]


def trainable(adapter: Any) -> Any:
    """What `grad` and `tx` see of an adapter: of its LoRA entries `a` and `b`, and not `scale` nor what they hold."""
    if not isinstance(adapter, dict):
        return adapter
    lora = {"a", "b", "scale"} <= adapter.keys()
    return {key: trainable(value) for key, value in adapter.items() if not lora or key in ("a", "b")}


def join(trained: Any, adapter: Any) -> Any:
    """The inverse of `trainable`: `adapter` with its trained leaves replaced by those of `trained`."""
    if not isinstance(adapter, dict):
        return trained
    return {key: join(trained[key], value) if key in trained else value for key, value in adapter.items()}


def full_parameters(params: Any, adapter: Any, factors: Any = None) -> Any:
    """An `attach_fn` for training all weights: the adapter *is* a parameter tree, cast to the dtypes of `params`.

    Start from `jax.tree.map(lambda p: jnp.array(p, "float32"), params)`: a copy, so that the trained weights and the
    optimizer state are float32 even where the model computes in bfloat16, and `donate` leaves `params` alone.
    """
    if isinstance(params["layers"], tuple):
        adapter = models.unroll(adapter)
    return jax.tree.map(lambda p, a: a.astype(p.dtype), params, adapter)
