"""From tensors in files to leaves on devices: each device's part of a leaf is read for it, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from seal_jax.models.config import Config
from seal_jax.models.layout import Leaf, leaves
from seal_jax.models.stored import Index, copy_finite
from seal_jax.models.tensors import TensorFiles
from seal_jax.models.transformer import Params
from seal_jax.runtime.placement import param_spec

Fill = Callable[[str, tuple[int, ...]], np.ndarray]


def load_params(
    files: TensorFiles,
    config: Config,
    dtype: np.dtype,
    mesh: Mesh | None = None,
    fill: Fill | None = None,
    unrolled: bool = False,
) -> Params:
    """The parameters of a checkpoint whose headers have been checked, with stacked or with unrolled layers.

    Without a mesh they are on the default device; on a CPU they are the memory they were read into. On a mesh each
    process reads what its own devices keep, once for all devices that keep the same. fill: see `from_pretrained`.
    Raises CheckpointError for NaN or inf in what is read.
    """
    params: Params = {"layers": tuple({} for _ in range(config.num_layers))} if unrolled else {}
    before: Any = None
    for leaf in leaves(config):
        for layer, part in _layers(leaf) if unrolled else [(None, leaf)]:
            made = _Reader(part, files, dtype, fill)
            array = jax.device_put(made.read(_all(part.shape))) if mesh is None else _sharded(made, mesh, config)
            jax.block_until_ready(before)  # one on its way to the device while the next is read, and not all of them
            before = array
            _insert(params if layer is None else params["layers"][layer], part.path.split("/"), array)
    return params


def _layers(leaf: Leaf) -> list[tuple[int | None, Leaf]]:
    """A stacked leaf layer by layer, each as a leaf of one layer's tree."""
    if not leaf.stacked:
        return [(None, leaf)]
    path, shape = leaf.path.removeprefix("layers/"), leaf.shape[1:]
    return [(i, leaf._replace(path=path, shape=shape, names=(name,))) for i, name in enumerate(leaf.names)]


class _Reader:
    """Reads any part of one leaf."""

    def __init__(self, leaf: Leaf, files: TensorFiles, dtype: np.dtype, fill: Fill | None) -> None:
        self.leaf, self.files, self.dtype = leaf, files, dtype
        self._fill = fill
        self._filled: dict[str, np.ndarray] = {}

    def read(self, index: Index) -> np.ndarray:
        """The part `index` of the leaf: slices of step 1, one for each of its dimensions."""
        ranges = [range(n)[s] for n, s in zip(self.leaf.shape, index)]
        array = _aligned_empty(tuple(map(len, ranges)), self.dtype)
        if not self.leaf.stacked:
            self._copy(self.leaf.names[0], index, array)
            return array
        for target, layer in zip(array, ranges[0]):
            self._copy(self.leaf.names[layer], index[1:], target)
        return array

    def _copy(self, name: str, index: Index, target: np.ndarray) -> None:
        transposed = self.leaf.transposed
        if name in self.files:
            self.files.copy(name, index[::-1] if transposed else index, target, transposed=transposed)
            return
        if name not in self._filled:
            assert self._fill is not None, "missing tensors have been looked for"
            self._filled[name] = np.asarray(self._fill(name, self.leaf.tensor_shape))
        tensor = self._filled[name]
        copy_finite(target, (tensor.T if transposed else tensor)[index], f"fill({name!r})")


def _sharded(reader: _Reader, mesh: Mesh, config: Config) -> jax.Array:
    shape = reader.leaf.shape
    path = tuple(jax.tree_util.DictKey(part) for part in reader.leaf.path.split("/"))
    abstract = jax.ShapeDtypeStruct(shape, reader.dtype)
    sharding = NamedSharding(mesh, param_spec(path, abstract, mesh, config))
    parts: dict[tuple[range, ...], list[Any]] = {}
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        parts.setdefault(tuple(range(n)[s] for n, s in zip(shape, index or ())), []).append(device)
    arrays = []
    for ranges, devices in parts.items():
        part = reader.read(tuple(slice(r.start, r.stop) for r in ranges))
        arrays += [jax.device_put(part, device) for device in devices]
    return jax.make_array_from_single_device_arrays(shape, sharding, arrays)


def _all(shape: tuple[int, ...]) -> Index:
    return tuple(slice(0, n) for n in shape)


def _aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Uninitialised memory on a 64-byte boundary, which the CPU backend takes over without a copy."""
    size = math.prod(shape) * dtype.itemsize
    buffer = np.empty(size + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + size].view(dtype).reshape(shape)


def _insert(tree: Params, parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
    tree[parts[-1]] = value
