"""Which kernels a list of target names means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.tree_util import DictKey

from seal_jax.adapters.weights import is_weight

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


def select(params: Any, targets: Sequence[str]) -> dict[str, jax.Array]:
    """`{path: kernel}` of every kernel a target names, in tree order.

    params: stacked parameters, without adapters. A target is the last part of an HF module name, ours or the family's
    own ("q_proj", "dense_h_to_4h"; see ALIASES), or a group ("attention", "mlp", "all") of what the model has of it.
    Raises ValueError for a target that matches nothing, naming what there is, and for parameters that are unrolled or
    already adapted.
    """
    if isinstance(targets, str):
        targets = (targets,)
    kernels = _kernels(params)
    names = {path.split("/")[-2] for path in kernels}
    wanted: set[str] = set()
    for target in targets:
        members = [m for m in GROUPS.get(target, (ALIASES.get(target, target),)) if m in names]
        if not members:
            raise ValueError(
                f"target {target!r} matches no kernel; this model has {', '.join(sorted(names))} "
                f"and the groups {', '.join(GROUPS)}"
            )
        wanted.update(members)
    return {path: kernel for path, kernel in kernels.items() if path.split("/")[-2] in wanted}


def _kernels(params: Any) -> dict[str, jax.Array]:
    found = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(params, is_leaf=is_weight)[0]:
        if not all(isinstance(key, DictKey) for key in keys):
            raise ValueError("these parameters are unrolled; pick targets on the stacked ones (models.stack)")
        path = "/".join(str(key.key) for key in keys)
        if is_weight(leaf):
            raise ValueError(f"{path} is already a {type(leaf).__name__}; pick targets on the base parameters")
        if path.endswith("/kernel"):
            found[path] = leaf
    return found
