"""Anchored states wherever they are in an optimizer state, and trees laid beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from seal_jax.continual.regularizers.anchor import ExactAnchors, FixedAnchor, LatestAnchor
from seal_jax.continual.regularizers.si import SynapticState

ANCHORED = (ExactAnchors, LatestAnchor, FixedAnchor, SynapticState)


def map_anchored(change: Callable[[Any], Any], opt_state: Any) -> Any:
    """`opt_state` with every anchored state replaced by `change(state)`, the optimizer inside of SI's first.

    They may be under any nesting of chain, masked, partition, MultiSteps, other wrappers, tuples and dicts.
    """

    def visit(node: Any) -> Any:
        if isinstance(node, SynapticState):
            node = node._replace(inner=map_anchored(change, node.inner))
        return change(node) if isinstance(node, ANCHORED) else node

    return jax.tree.map(visit, opt_state, is_leaf=lambda node: isinstance(node, ANCHORED))


def anchored_states(opt_state: Any) -> list[Any]:
    """Every anchored state of `opt_state`. ValueError if there is none."""
    found = []
    map_anchored(lambda state: found.append(state) or state, opt_state)
    if not found:
        raise ValueError("the optimizer state holds no anchor: make the optimizer with ewc, mas, l2_sp, si or another")
    return found


def laid_beside(anchor: Any, tree: Any, name: str) -> Any:
    """The part of `tree` that `anchor` covers, in the structure of `anchor`, which `optax.masked` may have thinned out.

    Raises ValueError, with `name` for the tree, where it lacks a leaf of the anchor or has it in another shape.
    """
    paths, treedef = jax.tree.flatten_with_path(anchor, is_leaf=_masked)
    try:
        parts = treedef.flatten_up_to(tree)
    except ValueError as error:
        raise ValueError(f"the {name} are not a tree like the anchored parameters: {error}") from error
    for (path, leaf), part in zip(paths, parts, strict=True):
        if not _masked(leaf) and getattr(part, "shape", None) != leaf.shape:
            found = getattr(part, "shape", type(part).__name__)
            where = jax.tree_util.keystr(path) or "their only leaf"
            raise ValueError(f"the {name} at {where} are {found}, the anchored parameters {leaf.shape}")
    kept = [leaf if _masked(leaf) else part for (_, leaf), part in zip(paths, parts, strict=True)]
    return treedef.unflatten(kept)


def covered(anchor: Any) -> str:
    """Which leaves of a tree an anchor covers, as words for an error; nothing where it covers all of them."""
    paths = jax.tree.leaves_with_path(anchor, is_leaf=_masked)
    kept = [jax.tree_util.keystr(path) for path, leaf in paths if not _masked(leaf)]
    if len(kept) == len(paths):
        return ""
    more = ", ..." if len(kept) > 3 else ""
    return f" of the {len(kept)} leaves that a transform covers ({', '.join(kept[:3])}{more})"


def _masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)
