"""Which base model an expert belongs to: a hash that does not depend on the precision it was loaded in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.runtime.distributed import host
from seal_jax.runtime.tree_paths import text as path_text


def base_fingerprint(params: Any) -> str:
    """SHA-256, 64 hexadecimal digits, of the names, shapes and values of parameters, stacked or unrolled.

    Values are rounded to bfloat16 before they are hashed, because an expert that was trained on a checkpoint loaded in
    one precision is used on the same one in another: bfloat16 and float32 of one checkpoint have one fingerprint. A
    base that was trained further has another, since weights move by more than that rounding. One leaf at a time is
    copied to the host; of a model of 8 billion parameters that is 16 GB to read and to hash, so call it once a model.
    On several processes all have to call it.
    """
    digest = hashlib.sha256()
    for name, leaf in _leaves(params):
        rounded = leaf.astype(jnp.bfloat16) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        whole = np.ascontiguousarray(host(rounded))
        digest.update(f"{name} {whole.shape} {whole.dtype.name}\n".encode())
        digest.update(whole.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _leaves(params: Any) -> Iterator[tuple[str, Any]]:
    """Names and arrays in order of the names; the layers of unrolled parameters are stacked, a leaf at a time."""
    layers = params.get("layers") if isinstance(params, dict) else None
    if not isinstance(layers, tuple):
        found = [(path_text(path), (leaf,)) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
        yield from ((name, leaf) for name, (leaf,) in sorted(found, key=lambda pair: pair[0]))
        return
    rest = jax.tree_util.tree_leaves_with_path({name: value for name, value in params.items() if name != "layers"})
    found = [(path_text(path), leaf) for path, leaf in rest]
    each = [jax.tree_util.tree_leaves_with_path({"layers": layer}) for layer in layers]
    found += [(path_text(own[0][0]), tuple(leaf for _, leaf in own)) for own in zip(*each)]
    for name, leaf in sorted(found, key=lambda pair: pair[0]):
        yield name, jnp.stack(leaf) if isinstance(leaf, tuple) else leaf
