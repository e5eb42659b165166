"""The device mesh and where arrays live on it: the only thing that changes between a laptop and a TPU pod.

Axes: `data` splits edits (or batches), `fsdp` splits weights along their input side, `model` along their output side.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES: tuple[str, ...] = ("data", "fsdp", "model")
ROW_KERNELS = ("o_proj", "down_proj")  # their input side is the output side of the kernels before them


def make_mesh(spec: str = "data=-1", devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the axes `data`, `fsdp` and `model` from a text such as "data=4,model=2".

    Axes left out have size 1; one axis may be -1, which takes the devices that are left. The sizes must multiply to
    the number of devices, by default all of them. Raises ValueError with what would be right.
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


def shard_leading(tree: Any, mesh: Mesh) -> Any:
    """Put a tree on the mesh with the leading axis `[N, ...]` of every leaf split over `data`.

    N must be a multiple of the size of `data`; ValueError otherwise.
    """
    size = mesh.shape["data"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        shape = np.shape(leaf)
        if not shape or shape[0] % size:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{name} of shape {shape}: its leading axis must be a multiple of data={size}")
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec("data")))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Put a whole copy of every leaf on each device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard_params(params: Any, mesh: Mesh) -> Any:
    """Put model parameters on the mesh, split over `fsdp` and `model` by the rules of `param_spec`."""
    place = lambda path, leaf: jax.device_put(leaf, NamedSharding(mesh, param_spec(path, leaf, mesh)))  # noqa: E731
    return jax.tree_util.tree_map_with_path(place, params)


def param_spec(path: tuple[Any, ...], leaf: Any, mesh: Mesh) -> PartitionSpec:
    """How one parameter is split; path: its key path in the tree, leaf: anything with a `shape`.

    Kernels `[..., in, out]` are split by columns, those of `ROW_KERNELS` by rows, so that a layer needs one reduction
    after attention and one after the MLP. Biases follow their kernel's output, the embedding `[V, hidden]` is split
    over its vocabulary. The layer axis is never split, nor an axis that its mesh axis does not divide.
    """
    names = [str(getattr(key, "key", "")) for key in path]
    parent, name = ["", "", *names][-2:]
    tail: tuple[str | None, ...] = ()
    if name == "kernel":
        tail = ("model", "fsdp") if parent in ROW_KERNELS else ("fsdp", "model")
    elif name == "bias" and parent not in ROW_KERNELS:
        tail = ("model",)
    elif name == "embedding":
        tail = ("model", "fsdp")
    axes = (None,) * (len(leaf.shape) - len(tail)) + tail
    fits = (a if a is None or n % mesh.shape[a] == 0 else None for a, n in zip(axes, leaf.shape))
    return PartitionSpec(*fits)
