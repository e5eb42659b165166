"""A checkpoint rewritten in another dtype, with LoRA adapters merged into it, one tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seal_jax.adapters.attach import Adapter, Entry
from seal_jax.models.config import Config
from seal_jax.models.errors import CheckpointError
from seal_jax.models.families import config_to_hf, written_as
from seal_jax.models.hf import Checkpoint, open_checkpoint, write_settings
from seal_jax.models.layout import Leaf, leaves
from seal_jax.models.peft import read_adapter
from seal_jax.models.stored import DTYPES, copy_finite
from seal_jax.models.tensors import write_tensors

Item = tuple[str, Callable[[], np.ndarray], int]


def base_reader(source: Checkpoint) -> Callable[[Leaf], np.ndarray]:
    """What `read_adapter` asks for the base model, read from its files: unstacked leaves in the stored dtype."""

    def read(leaf: Leaf) -> np.ndarray:
        tensor = source.files.read(leaf.names[0])
        return tensor.T if leaf.transposed else tensor

    return read


def merge_checkpoint(
    source: str | Path,
    folder: str | Path,
    adapters_: Sequence[str | Path] = (),
    dtype: str = "float32",
    max_shard_bytes: int = 4 * 2**30,
) -> int:
    """Write the checkpoint `source` to `folder` in `dtype`, with adapters merged in their order; the count of numbers.

    adapters_: directories in the PEFT layout. Each product is added in float32, and only the result is rounded.
    The memory needed is that of the adapters and of one shard (`max_shard_bytes`), whatever the size of the model.

    Raises CheckpointError as `from_pretrained` and `load_peft`, before anything is written; and for a merged weight
    that overflows `dtype`.
    """
    if dtype not in DTYPES.values():
        raise CheckpointError(f"dtype={dtype!r} is not supported; accepted: {', '.join(DTYPES.values())}")
    opened = open_checkpoint(source)
    held = [read_adapter(path, opened.config, base_reader(opened)) for path in adapters_]
    written = written_as(opened.config)
    config_to_hf(written)  # what its config.json cannot express is an error before any work
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_tensors(Path(folder), _items(opened, written, held, np.dtype(dtype)), max_shard_bytes)
    write_settings(Path(folder), written, dtype, opened.tokenizer())
    return sum(math.prod(leaf.shape) for leaf in leaves(written))


def _items(opened: Checkpoint, written: Config, held: Sequence[Adapter], dtype: np.dtype) -> Iterator[Item]:
    sources = {leaf.path: leaf for leaf in leaves(opened.config)}
    for leaf in leaves(written):
        entries = [adapter[leaf.path] for adapter in held if leaf.path in adapter]
        entries = [{name: np.asarray(x) for name, x in entry.items()} for entry in entries]
        size = math.prod(leaf.tensor_shape) * dtype.itemsize
        for i, name in enumerate(leaf.names):
            at = i if leaf.stacked else ()
            layers: list[Entry] = [{key: x[at] for key, x in entry.items()} for entry in entries]
            yield name, partial(_merged, opened.files, sources[leaf.path].names[i], layers, dtype), size


def _merged(files: Any, name: str, layers: Sequence[Entry], dtype: np.dtype) -> np.ndarray:
    """One tensor `[out, in]` as stored, with `scale * a @ b` of each layer added in float32, in `dtype`."""
    tensor = files.read(name)
    for layer in layers:
        tensor = tensor.astype(np.float32) + (layer["a"] @ (layer["b"] * layer["scale"])).T
    result = np.empty(tensor.shape, dtype)
    copy_finite(
        result, tensor, f"{files.path(name)}: tensor {name!r}{' with what is merged into it' if layers else ''}"
    )
    return result
