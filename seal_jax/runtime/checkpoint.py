"""Checkpoints of any pytree on top of orbax: bitwise, kill-safe, and checked when they are read.

A checkpoint is a folder: `arrays`, written by orbax (the leaves, numbered; sharded ones by shard), and `manifest.json`
(see `manifest`), which adds typed PRNG keys, Python scalars, errors that name a path, and the detection of damage.
"""

from __future__ import annotations

import logging
import os
import pathlib
import re
import shutil
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from seal_jax.runtime import manifest, tree_paths
from seal_jax.runtime.manifest import DamagedCheckpointError, TreeCheckpointError


def save(path: str | os.PathLike[str], tree: Any) -> None:
    """Write `tree` to the folder `path`, replacing a checkpoint there only once the new one is complete.

    Leaves: JAX arrays of any dtype (sharded too), typed PRNG keys, NumPy arrays, and Python int, float, bool, str.
    Raises TypeError naming the path of any other leaf.
    """
    target = pathlib.Path(path).resolve()
    leaves = [_describe(keys, leaf) for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
    arrays = {str(i): array for i, (_, array) in enumerate(leaves) if array is not None}
    new, old = (target.with_name(f"{target.name}.{suffix}") for suffix in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    if arrays:
        with _orbax() as orbax:
            orbax.save(new / "arrays", args=ocp.args.PyTreeSave(arrays))
    manifest.write(new, [entry for entry, _ in leaves])
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def restore(path: str | os.PathLike[str], like: Any = None) -> Any:
    """The tree saved at `path`, bit for bit.

    like: a tree of the same structure (arrays or `jax.ShapeDtypeStruct`), whose containers and shardings the result
    takes; without it, dicts and lists. Raises TreeCheckpointError naming the path of a missing, extra or misshapen
    leaf, DamagedCheckpointError naming a file that is missing or not what was written.
    """
    target = _existing(pathlib.Path(path).resolve())
    entries = manifest.read(target)
    wanted = None if like is None else tree_paths.matched(like, entries, str(path))
    templates = {
        str(i): _template(entry, wanted and wanted[i]) for i, entry in enumerate(entries) if entry["stored"] == "array"
    }
    arrays = _read_arrays(target, templates) if templates else {}
    leaves = [_rebuild(entry, arrays.get(str(i))) for i, entry in enumerate(entries)]
    return tree_paths.nested(entries, leaves) if like is None else jax.tree.unflatten(jax.tree.structure(like), leaves)


class Checkpointer:
    """Numbered checkpoints in one folder, the newest `keep` of them kept (None: all).

    The state is any pytree: {adapter, optimizer state, PRNG keys, data position}. A step that a kill or a bad disk has
    damaged is skipped with a warning, and the one before it is used.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int | None = 2) -> None:
        if keep is not None and keep < 1:
            raise ValueError(f"keep={keep}: keep 1 checkpoint or more, or None for all")
        self.folder = pathlib.Path(folder).resolve()
        self.keep = keep

    def save(self, step: int, tree: Any) -> None:
        """Write `tree` as checkpoint `step` (0 or more), then drop those beyond the newest `keep`."""
        if step < 0:
            raise ValueError(f"step={step}: a step is 0 or more")
        save(self._path(step), tree)
        for old in self.steps()[: -self.keep] if self.keep else []:
            shutil.rmtree(self._path(old), ignore_errors=True)

    def steps(self) -> list[int]:
        """The steps on disk, oldest first; a folder whose writing was cut short is not among them."""
        if not self.folder.is_dir():
            return []
        found = (re.fullmatch(r"step_(\d+)(\.old)?", p.name) for p in self.folder.iterdir() if p.is_dir())
        return sorted({int(match[1]) for match in found if match})

    def latest(self) -> int | None:
        """The newest step whose bytes are whole, or None. Reads it to know."""
        found = self.restore_latest()
        return None if found is None else found[0]

    def restore(self, step: int, like: Any = None) -> Any:
        """The tree of `step`, as `checkpoint.restore`."""
        return restore(self._path(step), like)

    def restore_latest(self, like: Any = None) -> tuple[int, Any] | None:
        """The newest whole step and its tree, or None if there is none; damaged ones are skipped with a warning."""
        for step in reversed(self.steps()):
            try:
                return step, self.restore(step, like)
            except DamagedCheckpointError as error:
                warnings.warn(f"skipping a damaged checkpoint: {error}", stacklevel=2)
        return None

    def _path(self, step: int) -> pathlib.Path:
        return self.folder / f"step_{step:08d}"


def _orbax() -> ocp.Checkpointer:
    logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every save; a run has its own progress line
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())


def _describe(keys: tuple[Any, ...], leaf: Any) -> tuple[dict[str, Any], Any]:
    """One leaf as its manifest entry and the array to store (None: the entry alone holds it)."""
    entry: dict[str, Any] = {"path": tree_paths.encode(keys)}
    if isinstance(leaf, (bool, int, str)):
        return {**entry, "stored": type(leaf).__name__, "value": leaf}, None
    if isinstance(leaf, float) and not isinstance(leaf, np.generic):
        return {**entry, "stored": "float", "value": leaf.hex()}, None  # exact, and strict JSON for NaN too
    if not isinstance(leaf, (jax.Array, np.ndarray, np.generic)) or leaf.dtype == object:
        raise TypeError(f"{tree_paths.text(keys)} is a {type(leaf).__name__}; a checkpoint holds arrays and scalars")
    array = leaf
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        entry["key_impl"] = str(jax.random.key_impl(leaf))
        array = jax.random.key_data(leaf)
    array = np.asarray(array) if isinstance(array, np.generic) else array
    entry |= {"dtype": str(array.dtype), "shape": list(array.shape), "numpy": isinstance(array, np.ndarray)}
    if array.size == 0:  # orbax refuses these
        return {**entry, "stored": "empty"}, None
    return {**entry, "stored": "array"}, array


def _existing(target: pathlib.Path) -> pathlib.Path:
    # Between the two renames of `save` only the old folder is there.
    for candidate in (target, target.with_name(target.name + ".old")):
        if candidate.is_dir():
            return candidate
    raise TreeCheckpointError(f"{target} is not a checkpoint: there is no such folder")


def _template(entry: dict[str, Any], like: Any) -> Any:
    """What orbax should read a stored leaf into: NumPy, or a JAX array with the sharding of `like`."""
    shape, dtype = tuple(entry["shape"]), jnp.dtype(entry["dtype"])
    if entry["numpy"]:
        return np.empty(shape, dtype)
    sharding = getattr(like, "sharding", None) if "key_impl" not in entry else None
    return jax.ShapeDtypeStruct(
        shape, dtype, sharding=sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    )


def _read_arrays(target: pathlib.Path, templates: dict[str, Any]) -> dict[str, Any]:
    args = ocp.args.PyTreeRestore(templates, restore_args=ocp.checkpoint_utils.construct_restore_args(templates))
    with _orbax() as orbax:
        return orbax.restore(target / "arrays", args=args)


def _rebuild(entry: dict[str, Any], array: Any) -> Any:
    stored = entry["stored"]
    if stored == "float":
        return float.fromhex(entry["value"])
    if stored in ("int", "bool", "str"):
        return entry["value"]
    if stored == "empty":
        empty = np.empty(tuple(entry["shape"]), jnp.dtype(entry["dtype"]))
        array = empty if entry["numpy"] else jnp.asarray(empty)
    return jax.random.wrap_key_data(array, impl=entry["key_impl"]) if "key_impl" in entry else array
