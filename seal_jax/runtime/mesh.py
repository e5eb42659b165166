"""The device mesh and where arrays live on it: the only thing that changes between a laptop and a TPU pod.

`data` splits edits or rows. `fsdp` splits them as well, and the weights too, which are gathered layer by layer where
they are used. `model` splits every matrix product: by columns, then by rows, with one sum over devices after attention
and one after the MLP. `placement.py` has the rules by which parameters are split, `constraints.py` what a program is
told about them.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES: tuple[str, ...] = ("data", "fsdp", "model")
ROWS: tuple[str, ...] = ("data", "fsdp")
"""The axes that rows, or edits, are split over."""


def make_mesh(spec: str = "data=-1", devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the axes `data`, `fsdp` and `model` from a text such as "data=4,model=2".

    Axes left out have size 1; one axis may be -1, which takes the devices that are left. The sizes must multiply to
    the number of devices, by default all of them (of all processes). Raises ValueError with what would be right.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = axis_sizes(spec)
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if -1 in sizes.values() and len(devices) % fixed == 0:
        sizes = {axis: len(devices) // fixed if size == -1 else size for axis, size in sizes.items()}
    if math.prod(sizes.values()) != len(devices):
        raise ValueError(f"mesh {spec!r} does not multiply to the {len(devices)} devices there are")
    # jax.make_mesh defaults to Explicit axes, which refuse the gathers and contractions of an unannotated model.
    return Mesh(np.asarray(devices).reshape(tuple(sizes.values())), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def axis_sizes(spec: str) -> dict[str, int]:
    """The size of every axis in a text such as "data=4,model=2". ValueError with what would be right."""
    sizes = dict.fromkeys(AXES, 1)
    for part in filter(None, (part.strip() for part in spec.split(","))):
        match = re.fullmatch(r"(\w+)=(-1|[1-9]\d*)", part)
        if match is None or match[1] not in AXES:
            raise ValueError(f"mesh {spec!r}: {part!r} is not AXIS=SIZE with AXIS one of {', '.join(AXES)}, SIZE >= 1")
        sizes[match[1]] = int(match[2])
    if list(sizes.values()).count(-1) > 1:
        raise ValueError(f"mesh {spec!r}: only one axis may be -1")
    return sizes


def mesh_of(tree: Any) -> Mesh | None:
    """The mesh of `make_mesh` that a tree of arrays lives on; None for one device, and for values that are traced."""
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, Tracer):
            return None
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh.axis_names == AXES:
            return sharding.mesh if isinstance(sharding.mesh, Mesh) else None
    return None


def use(mesh: Mesh | None) -> contextlib.AbstractContextManager[Any]:
    """A context in which programs are traced for `mesh`; with None, what it is already. Works inside of `jit` as well.

    Public functions enter it for the mesh their parameters live on. One that is called inside of somebody's own `jit`
    cannot see that; there, the caller enters it.
    """
    return contextlib.nullcontext() if mesh is None else jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def row_groups(mesh: Mesh | None) -> int:
    """Into how many parts rows or edits are split; 1 without a mesh."""
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in ROWS)


def shard_leading(tree: Any, mesh: Mesh) -> Any:
    """Put a tree on the mesh with the leading axis `[N, ...]` of every leaf split over `data` and `fsdp`.

    N must be a multiple of their product; ValueError otherwise. The leaves are the whole arrays, the same in every
    process; each process keeps its part.
    """
    size = row_groups(mesh)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        shape = np.shape(leaf)
        if not shape or shape[0] % size:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{name} of shape {shape}: its leading axis must be a multiple of data * fsdp = {size}")
    return put(tree, NamedSharding(mesh, PartitionSpec(ROWS)))


def shard_rows(batches: Any, mesh: Mesh | None) -> Any:
    """Batches `[S, B, ...]` of one fine-tune with their rows B split over `data` and `fsdp`, which must divide B.

    Without a mesh they go to the default device.
    """
    if mesh is None:
        return jax.tree.map(jnp.asarray, batches)
    return put(batches, NamedSharding(mesh, PartitionSpec(None, ROWS)))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Put a whole copy of every leaf on each device of the mesh."""
    return put(tree, NamedSharding(mesh, PartitionSpec()))


def put(tree: Any, sharding: Any) -> Any:
    """`jax.device_put` that also serves a mesh of several processes, all of which hold the whole (host) arrays."""

    def leaf(x: Any) -> jax.Array:
        if sharding.is_fully_addressable or (isinstance(x, jax.Array) and not x.is_fully_addressable):
            return jax.device_put(x, sharding)
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(leaf, tree)
