"""What a program is told about where its values live. Without a mesh (`mesh.use`) nothing here does anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import PartitionSpec

from seal_jax.runtime.mesh import AXES, ROWS
from seal_jax.runtime.placement import heads_of, param_spec, used_spec

ANY = PartitionSpec.UNCONSTRAINED
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def current_mesh() -> Any:
    """The (abstract) mesh that the program is traced for, or None."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if mesh.axis_names == AXES and mesh.size > 1 else None


def split_by(x: jax.Array, *axes: Any) -> jax.Array:
    """`x` with its last dimensions split over the given axes: a name, a tuple of names, None (not split), `ANY`.

    Other dimensions, and those that `vmap` adds, are left to the compiler, as is one that its axis does not divide.
    """
    mesh = current_mesh()
    if mesh is None:
        return x
    spec = [ANY] * (x.ndim - len(axes)) + list(axes)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))


def gathered(tree: Any, config: Any, after: jax.Array) -> Any:
    """Weights as they are used: gathered over `fsdp`, and split over `model` as they are stored.

    after: a value of the step under way. Weights are the same in every step of a loop, so the compiler would gather
    them once before it, and have the whole model on each device; it may not gather them before it has `after`.
    """
    mesh = current_mesh()
    if mesh is None or mesh.shape["fsdp"] == 1:
        return tree

    def gather(path: Any, leaf: jax.Array) -> jax.Array:
        if "fsdp" not in param_spec(path, leaf, mesh, config):
            return leaf
        return jax.lax.with_sharding_constraint(_not_before(leaf, after), used_spec(path, leaf, mesh, config))

    return jax.tree_util.tree_map_with_path(gather, tree)


@jax.custom_vjp
def _not_before(x: jax.Array, after: jax.Array) -> jax.Array:
    return jax.lax.optimization_barrier((x, after))[0]


def _not_before_forward(x: jax.Array, after: jax.Array) -> tuple[jax.Array, None]:
    return _not_before(x, after), None


def _not_before_backward(_: None, gradient: jax.Array) -> tuple[jax.Array, None]:
    # The rule of the barrier itself would make a gradient of every weight, trained or not.
    return gradient, None


_not_before.defvjp(_not_before_forward, _not_before_backward)


def keep_stored(block: F) -> F:
    """A function that calls `gathered` on its weights, such that its backward pass gathers them again.

    Otherwise every layer would keep its gathered weights for the backward pass, and all of them together are the model.
    """
    mesh = current_mesh()
    if mesh is None or mesh.shape["fsdp"] == 1:
        return block
    return jax.checkpoint(block, policy=_not_gathered)  # pyright: ignore[reportReturnType]


def _not_gathered(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name not in ("sharding_constraint", "optimization_barrier", "custom_vjp_call")


def split_keys(x: jax.Array, config: Any) -> jax.Array:
    """Cached keys or values `[..., K, S, head_dim]`, heads over `model` where that splits them, else whole.

    Left to itself, the compiler would split them further where queries are, and gather the cache at the end.
    """
    mesh = current_mesh()
    return x if mesh is None else split_by(x, "model" if heads_of(config, mesh).keys else None, None, None)


def split_cache(cache: T, config: Any) -> T:
    """A key/value cache with its rows over `data` and `fsdp`, and its heads over `model` where that splits them."""
    mesh = current_mesh()
    if mesh is None:
        return cache
    return jax.tree.map(lambda x: split_rows(split_keys(x, config) if x.ndim >= 4 else x) if x.ndim else x, cache)


def split_rows(x: jax.Array) -> jax.Array:
    """`x` with its first dimension split over `data` and `fsdp`, others left to the compiler."""
    mesh = current_mesh()
    if mesh is None or x.shape[0] % (mesh.shape["data"] * mesh.shape["fsdp"]):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(ROWS, *[ANY] * (x.ndim - 1)))
