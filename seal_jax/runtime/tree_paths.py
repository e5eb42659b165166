"""Paths of leaves in a pytree, as text for people and as JSON for a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

from seal_jax.runtime.manifest import TreeCheckpointError

Encoded = list[list[Any]]
"""A path as JSON: [["key", "adapter"], ["index", 0], ...]; attributes are keys."""


def encode(keys: Sequence[Any]) -> Encoded:
    """A path of JAX tree keys as JSON data."""
    return [_part(key) for key in keys]


def text(keys: Sequence[Any]) -> str:
    """A path of JAX tree keys as text: "adapter/layers/0/a"; "(root)" for the tree itself being a leaf."""
    return joined(encode(keys))


def joined(path: Encoded) -> str:
    """An encoded path as text."""
    return "/".join(str(name) for _, name in path) or "(root)"


def matched(like: Any, entries: Sequence[dict[str, Any]], where: str) -> list[Any]:
    """The leaves of `like`, one per manifest entry and in its order.

    Raises TreeCheckpointError naming `where` and the path if a leaf is missing on either side, or differs in shape or
    dtype.
    """
    pairs = [(text(keys), leaf) for keys, leaf in jax.tree_util.tree_flatten_with_path(like)[0]]
    saved = [joined(entry["path"]) for entry in entries]
    wanted = [name for name, _ in pairs]
    for problem, names in (("lacks", set(wanted) - set(saved)), ("has in addition", set(saved) - set(wanted))):
        if names:
            raise TreeCheckpointError(f"{where} does not have the structure asked for: it {problem} {_some(names)}")
    if saved != wanted:
        raise TreeCheckpointError(f"{where} has its leaves in another order: {saved}, not {wanted}")
    for (name, leaf), entry in zip(pairs, entries):
        have, want = _saved_kind(entry), _kind(leaf)
        if have != want:
            raise TreeCheckpointError(f"{where}: {name} is {have} in the checkpoint and {want} in the tree asked for")
    return [leaf for _, leaf in pairs]


def nested(entries: Sequence[dict[str, Any]], leaves: Sequence[Any]) -> Any:
    """A tree of dicts and lists from encoded paths and their leaves; `{}` for no leaves at all."""
    if len(entries) == 1 and not entries[0]["path"]:
        return leaves[0]
    root: dict[Any, Any] = {}
    for entry, leaf in zip(entries, leaves):
        *parents, last = [tuple(part) for part in entry["path"]]
        node = root
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = leaf
    return _untag(root)


def _untag(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    children = {part: _untag(child) for part, child in node.items()}
    # An index that is missing held no leaf (an empty tuple or None), so positions are kept and filled with None.
    if node and all(kind == "index" for kind, _ in node):
        return [children.get(("index", i)) for i in range(1 + max(i for _, i in node))]
    return {name: child for (_, name), child in children.items()}


def _part(key: Any) -> list[Any]:
    match key:
        case DictKey(key=name) | FlattenedIndexKey(key=name):
            return ["key", name if isinstance(name, (str, int)) else str(name)]
        case GetAttrKey(name=name):
            return ["key", name]
        case SequenceKey(idx=index):
            return ["index", index]
    return ["key", str(key)]


def _kind(leaf: Any) -> str:
    """What a leaf is, in the words of an error: "float32 [2, 3]", "int"."""
    if isinstance(leaf, (bool, int, str, float)) and not isinstance(leaf, np.generic):
        return type(leaf).__name__
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return f"PRNG keys {list(leaf.shape)}"
    return f"{leaf.dtype} {list(leaf.shape)}"


def _saved_kind(entry: dict[str, Any]) -> str:
    if entry["stored"] not in ("array", "empty"):
        return entry["stored"]
    if "key_impl" in entry:
        # The last axis of the key data belongs to the key itself.
        return f"PRNG keys {entry['shape'][:-1]}"
    return f"{entry['dtype']} {entry['shape']}"


def _some(names: set[str], limit: int = 5) -> str:
    shown = sorted(names)[:limit]
    return ", ".join(shown) + (f" and {len(names) - limit} more" if len(names) > limit else "")
