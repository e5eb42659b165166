"""A hash of a model's weights: what an expert, or a file of factors, was made for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, SequenceKey

from seal_jax.adapters.targets import is_stacked
from seal_jax.adapters.weights import is_weight
from seal_jax.runtime.distributed import host

THREADS = 8


def fingerprint(params: Any, paths: Iterable[str] | None = None, dtype: Any = None) -> str:
    """32 hexadecimal digits of the names, shapes, dtypes and bytes of parameters, or of those at `paths`.

    The same for stacked and unrolled parameters, on any mesh and in every process (all of which have to call). Two
    models differ in it if any bit of a weight does; the same weights in another dtype do. dtype: round what is floating
    to it first, so that they do not. A few layers of one array at a time are brought to the host. Raises ValueError for
    a path that is not there, and for parameters that are adapted: `materialize` them, or take the base.
    """
    leaves = _by_path(params)
    wanted = sorted(leaves if paths is None else set(paths))
    if missing := [path for path in wanted if path not in leaves]:
        raise ValueError(f"fingerprint of {missing[0]!r}: these parameters have {', '.join(sorted(leaves))}")
    whole = hashlib.sha256()
    with ThreadPoolExecutor(THREADS) as pool:
        for path in wanted:
            parts = leaves[path]
            first_part = _rounded(parts[0], dtype)
            whole.update(f"{path} {len(parts)} {tuple(first_part.shape)} {first_part.dtype}\n".encode())
            for first in range(0, len(parts), THREADS):
                some = [host(_rounded(parts[i], dtype)) for i in range(first, min(first + THREADS, len(parts)))]
                for digest in pool.map(_digest, some):
                    whole.update(digest)
    return whole.hexdigest()[:32]


def _rounded(x: Any, dtype: Any) -> Any:
    return x if dtype is None or not jnp.issubdtype(x.dtype, jnp.floating) else x.astype(dtype)


def _digest(x: np.ndarray) -> bytes:
    flat = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    return hashlib.sha256(flat.data).digest()  # releases the interpreter's lock, so threads hash side by side


class _Layers(Sequence[Any]):
    """The layers of a stacked array, sliced when asked for."""

    def __init__(self, stacked: Any) -> None:
        self.stacked = stacked

    def __len__(self) -> int:
        return self.stacked.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return self.stacked[index]


def _by_path(params: Any) -> dict[str, Sequence[Any]]:
    """The arrays of each path: one, or those of its layers, whether they are stacked or unrolled."""
    found: dict[str, Any] = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(params, is_leaf=is_weight)[0]:
        path = "/".join(str(key.key) for key in keys if isinstance(key, DictKey))
        if is_weight(leaf):
            raise ValueError(f"{path} is a {type(leaf).__name__}: take the fingerprint of the base parameters")
        if any(isinstance(key, SequenceKey) for key in keys):
            found.setdefault(path, []).append(leaf)
        else:
            found[path] = _Layers(leaf) if is_stacked(path) and leaf.ndim else [leaf]
    return found
