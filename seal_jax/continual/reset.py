"""A fresh start of an optimizer between tasks that keeps what regularizers remember."""

from __future__ import annotations

from typing import Any

import jax
import optax

RESTARTED = ("cl_count", "cl_begun")


def reset_moments(tx: optax.GradientTransformation, opt_state: Any, params: Any) -> Any:
    """`tx.init(params)` with every state field named `cl_...` kept: anchors, importances, bases, paths.

    Moments, accumulated gradients and counts begin anew, and with the counts the schedules. Pure. params: as the
    optimizer sees them. Raises ValueError if `opt_state` is not a state of `tx` for such parameters.
    """
    fresh = tx.init(params)
    if jax.tree.structure(fresh) != jax.tree.structure(opt_state):
        raise ValueError("the optimizer state is not one that tx.init(params) makes: give the same tx and parameters")
    return jax.tree.map_with_path(lambda path, new, old: old if _kept(path) else new, fresh, opt_state)


def _kept(path: tuple[Any, ...]) -> bool:
    """Whether a leaf is in such a field. Keys of dicts, the names of parameters, are no fields."""
    fields = [key.name for key in path if isinstance(key, jax.tree_util.GetAttrKey)]
    return any(name.startswith("cl_") and name not in RESTARTED for name in fields)
