"""What a program is told about where its values live. Without a mesh (`mesh.use`) nothing here does anything."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import PartitionSpec

from seal_jax.runtime.mesh import AXES, ROWS
from seal_jax.runtime.placement import heads_of, used_spec

ANY = PartitionSpec.UNCONSTRAINED


def current_mesh() -> Any:
    """The (abstract) mesh that the program is traced for, or None."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if mesh.axis_names == AXES and mesh.size > 1 else None


def split_by(x: jax.Array, *axes: Any) -> jax.Array:
    """`x` with its last dimensions split over the given mesh axes: a name, a tuple of names, None (not split), or `ANY`.

    Other dimensions, and those that `vmap` adds, are left to the compiler, as is one that its axis does not divide.
    """
    mesh = current_mesh()
    if mesh is None:
        return x
    spec = [ANY] * (x.ndim - len(axes)) + list(axes)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))


def whole(x: jax.Array) -> jax.Array:
    """`x` with its last dimension whole on every device: the residual stream, after the sum over `model`."""
    return split_by(x, None)


def gathered(tree: Any, config: Any) -> Any:
    """Weights as they are used: gathered over `fsdp` here and now, and split over `model` as they are stored."""
    mesh = current_mesh()
    if mesh is None or mesh.shape["fsdp"] == 1:
        return tree

    def gather(path: Any, leaf: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(leaf, used_spec(path, leaf, mesh, config))

    return jax.tree_util.tree_map_with_path(gather, tree)


def regathers(primitive: Any, *_: Any, **__: Any) -> bool:
    """The policy of `jax.checkpoint` that keeps everything for the backward pass but gathered weights."""
    return primitive.name != "sharding_constraint"


def key_copies(config: Any) -> int:
    """How often each key/value head is repeated so that `model` splits them with the queries; 1 without need.

    Where `model` divides the heads but not the key/value heads, keys and values are whole on every device, and each
    device multiplies those that its own queries need.
    """
    mesh = current_mesh()
    if mesh is None:
        return 1
    heads = heads_of(config, mesh)
    if not heads.queries or heads.keys:
        return 1
    size, keys, per = mesh.shape["model"], config.num_kv_heads, config.num_heads // config.num_kv_heads
    return next(n for n in range(1, per + 1) if per % n == 0 and keys * n % size == 0)


def split_heads(x: jax.Array, config: Any, axis: int) -> jax.Array:
    """Queries, or keys and values that match them, split over `model` by heads; axis: that of the heads, negative."""
    mesh = current_mesh()
    if mesh is None or not heads_of(config, mesh).queries:
        return x
    return split_by(x, "model", *[None] * (-axis - 1))


def split_rows(x: jax.Array) -> jax.Array:
    """`x` with its first dimension split over `data` and `fsdp`, others left to the compiler."""
    mesh = current_mesh()
    if mesh is None or x.shape[0] % (mesh.shape["data"] * mesh.shape["fsdp"]):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(ROWS, *[ANY] * (x.ndim - 1)))
