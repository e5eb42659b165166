"""Several adapters of one model: a directory with one subdirectory each, and a tree with a leading axis N."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.adapters.attach import Adapter, Entry
from seal_jax.models.config import Config
from seal_jax.models.errors import CheckpointError
from seal_jax.models.peft.loading import CONFIG, load_peft
from seal_jax.models.peft.saving import save_peft
from seal_jax.models.transformer import Params


def save_peft_stack(
    folder: str | Path, adapters_: Adapter, config: Config, names: Sequence[str] | None = None, **options: Any
) -> list[Path]:
    """Write N adapters as `folder/NAME`, each as `save_peft` does, and return the N directories.

    adapters_: every leaf with a leading axis N. names: one each, a single path component; by default "adapter-0",
    padded with zeros so that their order is that of the axis. options: those of `save_peft`.

    Raises CheckpointError as `save_peft`, for leaves that differ in N, and for names that are not N different ones.
    """
    sizes = {x.shape[:1] for x in jax.tree.leaves(adapters_)}
    if len(sizes) != 1 or sizes == {()}:
        raise CheckpointError(f"leaves lead with axes {sorted(sizes)}; expected one axis of the same length N in all")
    count = sizes.pop()[0]
    chosen = [f"adapter-{n:0{len(str(count - 1))}}" for n in range(count)] if names is None else list(names)
    if len(chosen) != count or len(set(chosen)) != count:
        raise CheckpointError(f"names are {chosen[:8]}; expected {count} different ones, one for each adapter")
    for name in chosen:
        if not name or name.startswith(".") or Path(name).name != name:
            raise CheckpointError(f"name {name!r} is not that of a directory; expected no '/' and no leading dot")
    held = jax.tree.map(np.asarray, adapters_)
    for n, name in enumerate(chosen):
        save_peft(Path(folder) / name, jax.tree.map(lambda x, n=n: x[n], held), config, **options)
    return [Path(folder) / name for name in chosen]


def load_peft_stack(source: str | Path | Sequence[str | Path], params: Params, config: Config) -> Adapter:
    """Read N adapters as one tree: `{path: {"a" [N, L, in, r], "b" [N, L, r, out], "scale" [N, L]}}`, all float32.

    source: a directory as `adapter_folders` takes it, or the paths (or hub names) of the adapters in their order.
    Ranks and targets may differ: `r` is the largest of a kernel, and an adapter that lacks it, or the whole kernel,
    has zeros there, so each computes what it does alone. The result is what `generation.generate_batch` and
    `training.finetune_batch` take; ranks that are padding stay 0 in training.

    Raises CheckpointError as `load_peft`.
    """
    single = isinstance(source, str | Path)
    found = [load_peft(path, params, config) for path in (adapter_folders(source) if single else source)]
    if not found:
        raise CheckpointError("no adapters to load; expected the path of one at least")
    paths = dict.fromkeys(path for adapter in found for path in adapter)
    return {path: _stacked([adapter.get(path) for adapter in found]) for path in paths}


def adapter_folders(folder: str | Path) -> list[Path]:
    """The adapters in a local directory, sorted by name: its subdirectories, and first itself if it is one as well.

    That is how `peft` writes several adapters. Hidden entries and files beside them are passed over.
    Raises CheckpointError for a subdirectory that is no adapter, and if there is none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise CheckpointError(f"{root}: not a directory; expected one with an adapter in each subdirectory")
    inside = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    for path in inside:
        if not (path / CONFIG).is_file():
            raise CheckpointError(f"{path}: no {CONFIG}, so not an adapter in the PEFT layout")
    found = [*([root] if (root / CONFIG).is_file() else []), *inside]
    if not found:
        raise CheckpointError(f"{root}: holds no adapters; expected subdirectories with {CONFIG}")
    return found


def _stacked(entries: Sequence[Entry | None]) -> Entry:
    """Entries of one kernel with a leading axis, padded with zeros to the largest rank; None is an absent one."""
    present = [entry for entry in entries if entry is not None]
    rank = max(entry["a"].shape[-1] for entry in present)
    *stack, fan_in, _ = present[0]["a"].shape
    fan_out = present[0]["b"].shape[-1]
    a = np.zeros((len(entries), *stack, fan_in, rank), np.float32)
    b = np.zeros((len(entries), *stack, rank, fan_out), np.float32)
    scale = np.zeros((len(entries), *stack), np.float32)
    for n, entry in enumerate(entries):
        if entry is not None:
            own = entry["a"].shape[-1]
            a[n, ..., :own], b[n, ..., :own, :], scale[n] = entry["a"], entry["b"], entry["scale"]
    return {"a": jnp.asarray(a), "b": jnp.asarray(b), "scale": jnp.asarray(scale)}
