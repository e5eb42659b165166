"""Arithmetic on whole parameter trees, of which `optax.masked` may have taken leaves away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from seal_jax.runtime import tree_paths


def is_masked(x: Any) -> bool:
    """True for what stands in a tree where a leaf was taken away: the `is_leaf` of maps over such trees."""
    return isinstance(x, optax.MaskedNode)


def restricted(tree: Any, like: Any, name: str, stacked: bool = False, compare: bool = True) -> Any:
    """`tree` without the leaves that are masked in `like`: a masked transform gets its extra arguments whole.

    stacked: leaves of `tree` have an axis more in front. compare: whether shapes have to agree beside that. Raises
    ValueError, with `name` for the tree, where structure or shapes differ from those of `like`.
    """
    try:
        leaves = jax.tree.structure(like, is_leaf=is_masked).flatten_up_to(tree)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: not a tree like the parameters. {error}") from error

    def check(path: str, known: Any, x: Any) -> None:
        shape = jnp.shape(x)
        if shape[int(stacked) :] != known.shape or len(shape) != known.ndim + stacked:
            wanted = f"(n, {', '.join(map(str, known.shape))})" if stacked else known.shape
            raise ValueError(f"{name} at {path}: shape {shape}; the parameter needs {wanted}")

    structure = jax.tree.structure(like, is_leaf=is_masked)
    known = jax.tree.leaves(like, is_leaf=is_masked)
    found = structure.unflatten([k if is_masked(k) else x for k, x in zip(known, leaves)])
    if compare:
        with_paths(check, like, found)
    return found


def dots(stacked: Any, tree: Any, axes: int = 1) -> jax.Array:
    """Inner products over the whole tree of each of the stacked trees (leaves `[n, ...]`) with `tree`: float32 `[n]`.

    axes=0: of one tree with another, float32 `[]`.
    """

    def one(x: jax.Array, y: jax.Array) -> jax.Array:
        product = x.astype(jnp.float32) * (y.astype(jnp.float32)[None] if axes else y.astype(jnp.float32))
        return product.sum(axis=tuple(range(axes, product.ndim)))

    return _total(jax.tree.map(one, stacked, tree))


def gram(stacked: Any) -> jax.Array:
    """All inner products of stacked trees (leaves `[n, ...]`) with one another: float32 `[n, n]`."""

    def one(x: jax.Array) -> jax.Array:
        x, others = x.astype(jnp.float32), tuple(range(1, x.ndim))
        return jnp.tensordot(x, x, axes=(others, others), precision="highest")

    return _total(jax.tree.map(one, stacked))


def combined(weights: jax.Array, stacked: Any) -> Any:
    """The sum of stacked trees (leaves `[n, ...]`), each times its weight (`[n]`): a float32 tree."""
    return jax.tree.map(lambda x: jnp.tensordot(weights, x.astype(jnp.float32), axes=1, precision="highest"), stacked)


def with_paths(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`jax.tree.map` of `function(path, leaf, ...)`, the path as text ("mlp/up_proj/kernel"); masked leaves stay."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, x, *others: x if is_masked(x) else function(tree_paths.text(keys), x, *others),
        tree,
        *rest,
        is_leaf=is_masked,
    )


def rewrite(opt_state: Any, kind: type | tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    """The optimizer state in which every state of the given kind, however deeply nested, is `change(state)`.

    Raises ValueError if there is none: a rewrite of nothing would go unnoticed.
    """
    found = 0

    def visit(x: Any) -> Any:
        nonlocal found
        if not isinstance(x, kind):
            return x
        found += 1
        return change(x)

    changed = jax.tree.map(visit, opt_state, is_leaf=lambda x: isinstance(x, kind))
    if not found:
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f"the optimizer state holds no {names}: it was made by a chain without that transform")
    return changed


def _total(tree: Any) -> jax.Array:
    leaves = jax.tree.leaves(tree)
    if not leaves:
        raise ValueError("the tree has no leaves, so there is nothing to project")
    return jax.tree.reduce(jnp.add, leaves)
