"""Safetensors on disk: which file holds which tensor, reading one tensor at a time, writing in shards."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from seal_jax.models.errors import CheckpointError
from seal_jax.models.paths import is_file_name, member
from seal_jax.models.stored import DTYPES, Index, StoredFile

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a UTF-8 file. Raises CheckpointError naming the file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; a checkpoint directory has config.json and {SINGLE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a JSON object in UTF-8 ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: holds a {type(values).__name__}; expected a JSON object")
    return values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Readers disagree about which of two equal keys counts, so there must not be any."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return values


class TensorFiles:
    """The tensors of some safetensors files by name. Nothing but headers is read before `read` is called."""

    def __init__(self, paths: Iterable[Path], rename: Callable[[str], str | None] | None = None) -> None:
        """Open every file. Raises CheckpointError for one that is missing, damaged or repeats a tensor's name.

        rename: the name by which a stored tensor is known here; None for one to leave out.
        """
        self._found: dict[str, tuple[StoredFile, str]] = {}
        for path in paths:
            file = StoredFile(path)
            for stored in file.entries:
                name = stored if rename is None else rename(stored)
                if name is None:
                    continue
                if name in self._found:
                    raise CheckpointError(f"tensor {name!r} is both in {self.path(name)} and in {path}")
                self._found[name] = (file, stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def path(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._found[name][0].path

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Compare shape and dtype in the header; raises CheckpointError naming file and tensor."""
        file, stored = self._found[name]
        entry = file.entries[stored]
        if entry.shape != shape:
            raise CheckpointError(f"{file.path}: tensor {name!r} has shape {entry.shape}; the config asks for {shape}")
        if entry.dtype not in DTYPES:
            accepted = ", ".join(DTYPES)
            raise CheckpointError(f"{file.path}: tensor {name!r} has dtype {entry.dtype}; accepted: {accepted}")

    def copy(self, name: str, index: Index, target: np.ndarray, *, transposed: bool = False) -> None:
        """Fill `target` with the part `index` of a tensor that has been checked, reading no other part of the file.

        See `StoredFile.copy`. Raises CheckpointError for NaN and inf.
        """
        file, stored = self._found[name]
        file.copy(stored, index, target, f"{file.path}: tensor {name!r}", transposed=transposed)

    def read(self, name: str) -> np.ndarray:
        """A tensor that has been checked, as stored. Raises CheckpointError for NaN and inf."""
        file, stored = self._found[name]
        entry = file.entries[stored]
        array = np.empty(entry.shape, entry.numpy_dtype())
        self.copy(name, tuple(slice(0, n) for n in entry.shape), array)
        return array

    def read_as(self, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """The tensor in another dtype, after `check`. Raises CheckpointError also for NaN and inf."""
        self.check(name, shape)
        array = np.empty(shape, np.dtype(dtype))
        self.copy(name, tuple(slice(0, n) for n in shape), array)
        return array


def model_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint directory: the single file, or those its index names."""
    if (folder / SINGLE).is_file():
        return [member(folder, SINGLE)]
    if not (folder / INDEX).is_file():
        raise CheckpointError(f"{folder}: no weights; expected {SINGLE} or {INDEX}{_found_instead(folder)}")
    return _indexed(folder, member(folder, INDEX))


def _found_instead(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    shards = [name for name in names if re.fullmatch(r"model-\d+-of-\d+\.safetensors", name)]
    if shards:
        return f"; there are {shards[0]} ... without the index that names them, fetch it too"
    others = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".msgpack", ".h5"))]
    return f"; {', '.join(others)} would run or need other code to read, convert to safetensors" if others else ""


def _indexed(folder: Path, index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: field 'weight_map' is missing or empty; expected {{tensor: file name}}")
    for tensor, name in weight_map.items():
        if not is_file_name(name) or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index}: {tensor!r} points to {name!r}; expected a .safetensors file beside it")
    return [member(folder, name) for name in sorted(set(weight_map.values()))]


def write_tensors(
    folder: Path, tensors: Iterable[tuple[str, Callable[[], np.ndarray], int]], max_shard_bytes: int
) -> None:
    """Write `(name, read, bytes)` triples to one file, or to several and an index; holds one shard in memory.

    Older weight files in `folder` are removed once the new ones are complete.
    """
    shards: list[list[tuple[str, Callable[[], np.ndarray], int]]] = [[]]
    used = 0
    for item in tensors:
        if shards[-1] and used + item[2] > max_shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(item)
        used += item[2]
    count = len(shards)
    names = [SINGLE] if count == 1 else [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    for name, shard in zip(names, shards):
        save_tensors(folder / name, {key: read() for key, read, _ in shard})
    if count > 1:
        weight_map = {key: name for name, shard in zip(names, shards) for key, _, _ in shard}
        total = sum(size for shard in shards for _, _, size in shard)
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    stale = {*folder.glob("model-*-of-*.safetensors"), folder / SINGLE, folder / INDEX}
    for path in stale - {folder / name for name in names} - ({folder / INDEX} if count > 1 else set()):
        path.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write one safetensors file; a killed write leaves the old file in place."""
    temporary = path.with_name(path.name + ".tmp")
    save_file(tensors, temporary, metadata={"format": "pt"})
    # safetensors makes the file readable to its owner alone; a checkpoint is shared like any other file.
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    os.replace(temporary, path)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON object; a killed write leaves the old file in place."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
