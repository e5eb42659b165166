"""What a reference model says of a batch, computed once beforehand, so that training holds one model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seal_jax import models
from seal_jax.runtime.mesh import mesh_of, use
from seal_jax.training.loss import token_log_probs

PAIRS = {"tokens": "reference_log_probs", "rejected_tokens": "rejected_reference_log_probs"}


def with_reference(params: Any, config: models.Config, batches: Mapping[str, Any]) -> dict[str, Any]:
    """The batches with `"reference_log_probs"`, float32 like `"tokens"`: of each token given its prefix.

    batches: `{"tokens", "mask"}` with leaves `[..., B, T]` of any leading axes, as `finetune` and `finetune_batch` take
    them; pairs that have `"rejected_tokens"` and `"rejected_mask"` get `"rejected_reference_log_probs"` as well. One
    `[B, T]` is looked at at a time. params: the reference model, adapted or not, stacked or unrolled.
    """
    found = dict(batches)
    for tokens, name in PAIRS.items():
        if tokens in batches:
            mask = batches[tokens.replace("tokens", "mask")]
            with use(mesh_of(params)):
                found[name] = _compiled(params, jnp.asarray(batches[tokens]), jnp.asarray(mask), config=config)
    return found


@partial(jax.jit, static_argnames="config")
def _compiled(params: Any, tokens: jax.Array, mask: jax.Array, *, config: models.Config) -> jax.Array:
    flat = tuple(x.reshape(-1, *x.shape[-2:]) for x in (tokens, mask))
    return jax.lax.map(lambda x: token_log_probs(params, config, *x), flat).reshape(tokens.shape)
