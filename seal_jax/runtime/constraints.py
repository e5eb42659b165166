"""What a program is told about where its values live. Without a mesh (`mesh.use`) nothing here does anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import PartitionSpec

from seal_jax.runtime.mesh import AXES, ROWS
from seal_jax.runtime.placement import heads_of, param_spec, used_spec

ANY = PartitionSpec.UNCONSTRAINED
F = TypeVar("F", bound=Callable[..., Any])


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
