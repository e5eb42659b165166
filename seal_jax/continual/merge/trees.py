"""What merging asks of a tree: that others are like it, where a leaf is, and which axis counts layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def check_alike(first: Any, others: Sequence[Any]) -> None:
    """Raise ValueError, naming the leaf, unless all trees have the structure and the shapes of the first."""
    wanted = {where(path): jnp.shape(x) for path, x in jax.tree_util.tree_leaves_with_path(first)}
    for index, other in enumerate(others, 1):
        found = {where(path): jnp.shape(x) for path, x in jax.tree_util.tree_leaves_with_path(other)}
        for name in wanted.keys() | found.keys():
            if wanted.get(name) != found.get(name):
                shapes = [f"of shape {x[name]}" if name in x else "absent" for x in (found, wanted)]
                raise ValueError(f"tree {index} differs at {name or 'its root'}: {shapes[0]}, in the first {shapes[1]}")


def check_weights(weights: Sequence[Any] | None, count: int, default: float) -> list[Any]:
    """`weights`, or `count` times the default. ValueError for another number of them, or a concrete one that is NaN."""
    if count < 1:
        raise ValueError("nothing to merge: give one tree or more")
    weights = [default] * count if weights is None else list(weights)
    if len(weights) != count:
        raise ValueError(f"{len(weights)} weights for {count} trees: give one each")
    if any(isinstance(w, (int, float)) and not math.isfinite(w) for w in weights):
        raise ValueError(f"weights {weights}: finite numbers are needed")
    return weights


def where(path: tuple[Any, ...]) -> str:
    """The path of a leaf, its parts joined by "/"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def layer_of(path: str) -> int | str | None:
    """Where a leaf of a decoder's parameters or adapter is.

    Its layer's number where layers are apart, "stacked" where its leading axis counts them, None outside of the layers
    and in other trees.
    """
    parts = path.split("/")
    if "layers" not in parts[:-1]:
        return None
    following = parts[parts.index("layers") + 1]
    return int(following) if following.isdecimal() else "stacked"
