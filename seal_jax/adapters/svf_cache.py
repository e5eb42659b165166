"""Factors of a model kept on disk, so that a second start does without the decompositions."""

from __future__ import annotations

import hashlib
import os
import pathlib
import sys
import warnings
import zlib
from typing import Any

import ml_dtypes  # noqa: F401  registers bfloat16 with numpy
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seal_jax.adapters.attach import Adapter, Entry
from seal_jax.adapters.factors import open_factors, shapes, size_of
from seal_jax.adapters.fingerprint import fingerprint
from seal_jax.adapters.targets import Targets, select
from seal_jax.runtime.distributed import all_agree, is_main, sync
from seal_jax.runtime.distributed import host as on_host
from seal_jax.runtime.files import write_atomic
from seal_jax.runtime.logging import progress
from seal_jax.runtime.resources import check_disk, gib

VERSION = 1


def cached_factors(
    params: Any,
    targets: Targets = ("mlp",),
    rank: int | None = None,
    cache: str | os.PathLike[str] = "~/.cache/seal_jax/svf",
) -> Adapter:
    """`factor(params, targets, rank)`, kept below `cache` in a folder named by a hash of the kernels and the rank.

    A folder holds a safetensors file for each layer of each kernel. Files that are there are read; for the others, or
    if one turns out to be damaged (with a warning), that matrix is decomposed and written, so a start that was killed
    goes on where it was. Before anything is written, its size is said on standard error (14.5 GB for the MLPs of an 8B
    model in bfloat16). With several processes all of them read, and process 0 writes: use a disk that all see.

    Raises DoesNotFitError, before any decomposition, if the disk has less than that free, and ValueError as `factor`.
    """
    kernels = select(params, targets)
    kinds = shapes(params, list(kernels), rank)
    folder = folder_of(params, targets, rank, cache)
    missing = [file for path in kernels for file in _files(folder, path, kernels[path]) if not file.exists()]
    if not all_agree(not missing):
        total, count = size_of(kinds), sum(len(_files(folder, path, kernels[path])) for path in kernels)
        needed = total * max(len(missing), 1) // count
        check_disk(folder, needed, "SVF factors")
        if is_main():
            print(f"SVF factors: {gib(needed)} of {gib(total)} to be written to {folder}", file=sys.stderr, flush=True)
    with progress("SVF factors", len(missing)) as advance:
        return {path: _factors(folder, path, kernel, kinds[path], rank, advance) for path, kernel in kernels.items()}


def folder_of(
    params: Any, targets: Targets = ("mlp",), rank: int | None = None, cache: str | os.PathLike[str] = "."
) -> pathlib.Path:
    """Where `cached_factors` keeps the factors of these kernels. Reads all of them for the hash."""
    of = f"{VERSION} {fingerprint(params, select(params, targets))} {rank}"
    return pathlib.Path(cache).expanduser() / f"svf-{hashlib.sha256(of.encode()).hexdigest()[:32]}"


def _files(folder: pathlib.Path, path: str, kernel: Any) -> list[pathlib.Path]:
    name = path.replace("/", ".")
    if len(kernel.shape) == 2:
        return [folder / f"{name}.safetensors"]
    return [folder / f"{name}.{layer:03}.safetensors" for layer in range(len(kernel))]


def _factors(folder: pathlib.Path, path: str, kernel: Any, kinds: Entry, rank: int | None, advance: Any) -> Entry:
    place, factors = open_factors(kernel, rank)
    for index, file in enumerate(_files(folder, path, kernel)):
        layer = index if len(kernel.shape) == 3 else None
        wanted = {name: (x.shape[0 if layer is None else 1 :], x.dtype) for name, x in kinds.items()}
        stored = _read(file, wanted) if file.exists() else None
        if all_agree(stored is not None):
            factors = place(factors, stored, layer)
            continue
        factors = place(factors, kernel, layer)
        found = on_host(factors if layer is None else {name: x[layer] for name, x in factors.items()})
        if is_main():
            write_atomic(file, save(found, {"crc32": _sum(found)}))
        sync(f"svf {file.name}")
        advance()
    return factors


def _read(file: pathlib.Path, wanted: dict[str, Any]) -> dict[str, np.ndarray] | None:
    """The factors of a file; None, with a warning, if it is not what was written."""
    try:
        with safe_open(file, framework="np") as opened:
            found = {name: opened.get_tensor(name) for name in wanted}
            noted = (opened.metadata() or {}).get("crc32")
    except (OSError, SafetensorError, ValueError) as error:
        return _damaged(file, str(error))
    for name, (shape, dtype) in wanted.items():
        if found[name].shape != shape or found[name].dtype != dtype:
            return _damaged(file, f"{name} is {found[name].dtype} {found[name].shape}, expected {dtype} {shape}")
    return found if noted == _sum(found) else _damaged(file, "its checksum is another")


def _damaged(file: pathlib.Path, why: str) -> None:
    warnings.warn(f"{file} is damaged ({why}); its matrix is decomposed again", stacklevel=5)


def _sum(tensors: dict[str, np.ndarray]) -> str:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data, value)
    return f"{value:08x}"
