"""Experts on disk: one safetensors file each, and folders of them.

A file holds the entries of the adapter as tensors `PATH:NAME` and one metadata field, JSON with the version of the
format, `Meta`, the kind of values, and a SHA-256 of all of it, so that a changed byte is found wherever it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seal_jax.models import CheckpointError
from seal_jax.models.stored import StoredFile
from seal_jax.runtime.distributed import host, is_main
from seal_jax.runtime.files import to_plain, write_atomic
from seal_jax.transformer2.base_fingerprint import base_fingerprint
from seal_jax.transformer2.experts import Expert, ExpertError, Meta, check, check_base, kind_of, library_path

VERSION = 1
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
FIELD = "seal_jax_expert"


def save_expert(path: str | Path, expert: Expert) -> Path:
    """Write an expert to a `.safetensors` file, atomically; equal experts are equal bytes. Returns the path.

    On several processes all have to call it and process 0 writes. Raises ExpertError for what could not be loaded
    again, and for a file name that does not end in ".safetensors".
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ExpertError(f"{path}: an expert is a .safetensors file")
    adapter = host(expert.adapter)
    expert = Expert(adapter, expert.meta)
    check(expert, str(path))
    tensors = {f"{at}:{name}": np.ascontiguousarray(x) for at, entry in adapter.items() for name, x in entry.items()}
    for name, x in tensors.items():
        if x.dtype.name not in DTYPES.values():
            raise ExpertError(f"{path}: {name} has dtype {x.dtype.name}; an expert has {', '.join(DTYPES.values())}")
    try:
        about = {"version": VERSION, "kind": kind_of(expert), **to_plain(expert.meta)}
    except TypeError as error:
        raise ExpertError(f"{path}: settings of an expert are what JSON holds; {error}") from None
    _meta(path, json.loads(json.dumps(about)))
    about["sha256"] = _checksum(about, tensors)
    if is_main():
        write_atomic(path, save(tensors, {FIELD: json.dumps(about, sort_keys=True)}))
    return path


def load_expert(
    path: str | Path, params: Any = None, *, base: str | None = None, allow_transfer: bool = False
) -> Expert:
    """Read an expert. With `params` it has to belong to them, as `experts.check_base` has it.

    Raises ExpertError, naming the file, if it is missing, truncated, damaged or something else than an expert, and for
    another base (with both fingerprints).
    """
    path = Path(path)
    about = _about(path)
    tensors = _tensors(path)
    if about.pop("sha256", None) != _checksum(about, tensors):
        raise ExpertError(f"{path} is damaged: its checksum is not that of what it holds")
    expert = Expert(_adapter(path, tensors), _meta(path, about))
    check(expert, str(path))
    if params is not None:
        check_base(expert, params, str(path), base=base, allow_transfer=allow_transfer)
    return expert


def list_library(folder: str | Path) -> dict[str, Meta]:
    """What the experts of a folder are, by name and in that order; nothing of an empty one. Raises as `load_expert`."""
    return {path.stem: load_expert(path).meta for path in library_files(folder)}


def load_library(
    folder: str | Path,
    params: Any,
    names: Sequence[str] | None = None,
    *,
    base: str | None = None,
    allow_transfer: bool = False,
) -> dict[str, Expert]:
    """The experts of a folder by name, all checked against `params`; names: which of them, by default all.

    The base is hashed once. Raises ExpertError as `load_expert`, for an empty library, and for a name that it lacks.
    """
    paths = {path.stem: path for path in library_files(folder)}
    if not paths:
        raise ExpertError(f"{folder} holds no expert; a library is a folder of .safetensors files of save_expert")
    for name in names or ():
        if name not in paths:
            raise ExpertError(f"{folder} has no expert {name!r}; it has {', '.join(paths)}")
    base = None if allow_transfer else base or base_fingerprint(params)
    chosen = paths if names is None else {name: paths[name] for name in names}
    how: dict[str, Any] = {"base": base, "allow_transfer": allow_transfer}
    return {name: load_expert(path, params, **how) for name, path in chosen.items()}


def save_library(folder: str | Path, experts: Mapping[str, Expert]) -> None:
    """Write experts to a folder, NAME.safetensors each; others that are there stay."""
    for name, expert in experts.items():
        save_expert(library_path(folder, name), expert)


def library_files(folder: str | Path) -> list[Path]:
    """The expert files of a library, by name; they are not read. Raises ExpertError for what is no folder."""
    if not Path(folder).is_dir():
        raise ExpertError(f"{folder}: no such folder; a library is a folder of expert files")
    return sorted(p for p in Path(folder).glob("*.safetensors") if not p.name.startswith("."))


def _about(path: Path) -> dict[str, Any]:
    """The metadata of an expert file; nothing else of it is read, which may be a whole model's."""
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(FIELD)
    except FileNotFoundError:
        raise ExpertError(f"{path}: no such file") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise ExpertError(f"{path}: not a complete safetensors file ({error})") from error
    if text is None:
        raise ExpertError(f"{path} is a safetensors file, but no expert of save_expert: its metadata lacks {FIELD!r}")
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExpertError(f"{path} is damaged: its metadata is not JSON ({error})") from error
    if not isinstance(about, dict) or type(about.get("version")) is not int:
        raise ExpertError(f"{path} is damaged: its metadata has no version")
    if about["version"] != VERSION:
        raise ExpertError(f"{path} has version {about['version']} of the format; this reads version {VERSION}")
    return about


def _tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        file = StoredFile(path)
        tensors = {}
        for name, entry in file.entries.items():
            if entry.dtype not in DTYPES:
                raise ExpertError(f"{path}: {name} has dtype {entry.dtype}; an expert has {', '.join(DTYPES)}")
            tensors[name] = np.empty(entry.shape, entry.numpy_dtype())
            whole = tuple(slice(0, n) for n in entry.shape)
            file.copy(name, whole, tensors[name], f"{path}: {name}")
    except CheckpointError as error:
        raise ExpertError(str(error)) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ExpertError):
            raise
        raise ExpertError(f"{path}: not a complete safetensors file ({error})") from error
    return tensors


def _adapter(path: Path, tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    adapter: dict[str, dict[str, Any]] = {}
    for name, x in sorted(tensors.items()):
        at, _, field = name.rpartition(":")
        if not at:
            raise ExpertError(f"{path}: tensor {name!r} is not PATH:NAME, as in 'layers/mlp/up_proj/kernel:raw'")
        adapter.setdefault(at, {})[field] = jnp.asarray(x)
    return adapter


def _texts(x: Any) -> bool:
    return isinstance(x, list) and all(isinstance(text, str) for text in x)


def _shapes(x: Any) -> bool:
    sizes = lambda shape: isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)  # noqa: E731
    return isinstance(x, dict) and all(sizes(shape) and len(shape) >= 2 for shape in x.values())


_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("task", "base", "compose", "base_name"), lambda x: isinstance(x, str)),
    "targets": _texts,
    "seed": lambda x: x is None or type(x) is int,
    "score": lambda x: x is None or type(x) in (int, float),
    "shapes": _shapes,
    "settings": lambda x: isinstance(x, dict),
}


def _meta(path: Path, about: Mapping[str, Any]) -> Meta:
    """`Meta` of JSON whose checksum holds: what save_expert wrote, or somebody else who knows the format."""
    values: dict[str, Any] = {name: about.get(name) for name in Meta._fields}
    for name, value in values.items():
        if not _FIELDS[name](value):
            raise ExpertError(f"{path}: metadata field {name!r} is missing or {value!r}, which it cannot be")
    shapes = {at: tuple(shape) for at, shape in values["shapes"].items()}
    return Meta(**{**values, "targets": tuple(values["targets"]), "shapes": shapes})


def _checksum(about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, x in sorted(tensors.items()):
        digest.update(f"\n{name} {x.shape} {x.dtype.name}\n".encode())
        digest.update(x.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
