"""Which kernels a list of target names means."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
from jax.tree_util import DictKey

from seal_jax.adapters.weights import is_weight

Targets: TypeAlias = str | Sequence[str] | Callable[[str, Any], bool]
"""Names of modules or groups, whole paths, or a predicate of a leaf's path and the leaf."""

GROUPS: dict[str, tuple[str, ...]] = {
    "attention": ("q_proj", "k_proj", "v_proj", "query_key_value", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}
GROUPS["all"] = GROUPS["attention"] + GROUPS["mlp"]
# What some families call these modules, in the parameter tree and in PEFT's `target_modules`: theirs -> ours.
ALIASES: dict[str, str] = {
    "out_proj": "o_proj",
    "dense": "o_proj",
    "c_fc": "up_proj",
    "dense_h_to_4h": "up_proj",
    "c_proj": "down_proj",
    "dense_4h_to_h": "down_proj",
    "embed_out": "lm_head",
}


def select(params: Any, targets: Targets) -> dict[str, jax.Array]:
    """`{path: kernel}` of every kernel a target names, in tree order.

    params: stacked parameters, without adapters, or any nested dict of arrays. A target is the last part of an HF
    module name, ours or the family's own ("q_proj", "dense_h_to_4h"; see ALIASES), a group ("attention", "mlp", "all")
    of what the model has of it, or a whole path ("encoder/block_0/Dense_0/kernel") of a leaf of any name. A predicate
    is asked about every array, with its path.

    Kernels are matrices: `[in, out]`, or `[L, in, out]` of layers that are stacked below "layers". Raises ValueError
    for a target that matches nothing, naming what there is; for one that is no matrix (a convolution, flax's
    DenseGeneral); and for parameters that are unrolled or already adapted.
    """
    leaves = _leaves(params)
    if callable(targets):
        found = {path: leaf for path, leaf in leaves.items() if targets(path, leaf)}
        if not found:
            raise ValueError(f"the predicate selects none of the {len(leaves)} arrays, such as {_some(leaves)}")
    else:
        found = _named(leaves, (targets,) if isinstance(targets, str) else targets)
    for path, leaf in found.items():
        _check_matrix(path, leaf)
    return found


def _named(leaves: dict[str, jax.Array], targets: Sequence[str]) -> dict[str, jax.Array]:
    kernels = [path for path in leaves if path.endswith("/kernel")]
    names = {path.split("/")[-2] for path in kernels}
    wanted: set[str] = set()
    for target in targets:
        if target in leaves:
            wanted.add(target)
            continue
        members = [m for m in GROUPS.get(target, (target, ALIASES.get(target, target))) if m in names]
        if not members and "/" in target:
            near = difflib.get_close_matches(target, leaves, 3)
            raise ValueError(f"target {target!r} is no path of these parameters; {_some(near or leaves)} are")
        if not members:
            raise ValueError(
                f"target {target!r} matches no kernel; this model has {', '.join(sorted(names))} "
                f"and the groups {', '.join(GROUPS)}"
            )
        wanted.update(path for path in kernels if path.split("/")[-2] in members)
    return {path: leaf for path, leaf in leaves.items() if path in wanted}


def is_stacked(path: str) -> bool:
    """Whether a leaf at this path leads with a layer axis: below "layers", unless layers have a number each there."""
    _, found, rest = f"/{path}".partition("/layers/")
    return bool(found) and not rest.split("/")[0].isdecimal()


def _check_matrix(path: str, leaf: jax.Array) -> None:
    stacked = is_stacked(path)
    if len(leaf.shape) != 2 + stacked:
        wanted = "[L, in, out]" if stacked else "[in, out]"
        raise ValueError(
            f"{path} has shape {tuple(leaf.shape)}, and a kernel here is a matrix {wanted}: leave it out, by a "
            "predicate or by naming paths, or reshape it to a matrix first"
        )


def _some(paths: Any) -> str:
    first = list(paths)[:3]
    return ", ".join(map(repr, first)) + (", ..." if len(paths) > len(first) else "")


def _leaves(params: Any) -> dict[str, jax.Array]:
    found = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(params, is_leaf=is_weight)[0]:
        if not all(isinstance(key, DictKey) for key in keys):
            raise ValueError("these parameters are unrolled; pick targets on the stacked ones (models.stack)")
        path = "/".join(str(key.key) for key in keys)
        if is_weight(leaf):
            raise ValueError(f"{path} is already a {type(leaf).__name__}; pick targets on the base parameters")
        found[path] = leaf
    return found
