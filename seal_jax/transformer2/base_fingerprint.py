"""Which base model an expert belongs to: a hash that does not depend on the precision it was loaded in."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from seal_jax.adapters import fingerprint


def base_fingerprint(params: Any) -> str:
    """`adapters.fingerprint` of all parameters as bfloat16: 32 hexadecimal digits.

    Rounded, because an expert that was trained on a checkpoint loaded in one precision is used on the same one in
    another: float32 and bfloat16 of one checkpoint are one base. A base that was trained further is another, since
    weights move by more than that rounding. Of a model of 8 billion parameters 16 GB are brought to the host and are
    hashed, so call it once a model. Raises ValueError for parameters that are adapted.
    """
    return fingerprint(params, dtype=jnp.bfloat16)
