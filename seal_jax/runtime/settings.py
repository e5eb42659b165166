"""The settings of a run directory: written once, compared ever after."""

from __future__ import annotations

import pathlib
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from seal_jax.runtime.files import DamagedFileError, read_json, to_plain, write_json

NOT_SETTINGS = ("out", "restart", "json")
"""Top-level fields that do not change a number, so they may differ when a run is resumed."""


def check_or_write(folder: pathlib.Path, config: Any) -> bool:
    """Compare `config` (a dataclass or dict) with the directory's settings, or write them if it has none.

    Returns True if the directory already held this run. Raises ValueError naming every field that differs.
    """
    path = folder / "config.json"
    plain = to_plain(config, "config")
    if not path.exists():
        if (folder / "stages").exists():
            raise ValueError(f"{folder} holds stages of a run but no config.json; pass --restart or another --out")
        made_with = {"seal_jax": _version("seal-jax"), "jax": _version("jax"), "python": platform.python_version()}
        write_json(path, {**plain, "_made_with": made_with})
        return False
    try:
        known = read_json(path)
    except DamagedFileError as error:
        raise DamagedFileError(f"{error}; pass --restart to begin the run again, or another --out") from error
    changed = _differences(known, plain, skip=(*NOT_SETTINGS, "_made_with"))
    if changed:
        raise ValueError(
            f"{folder} holds a run with other settings: {'; '.join(changed)}. "
            "Pass --restart to begin it again, or another --out"
        )
    return True


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:  # run from a source tree that was never installed
        return None


def _differences(old: Any, new: Any, prefix: str = "", skip: Sequence[str] = ()) -> list[str]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{prefix.removesuffix('.')} was {old!r}, now {new!r}"]
    absent = "(not set)"
    keys = [k for k in dict.fromkeys([*old, *new]) if k not in skip]
    return [d for k in keys for d in _differences(old.get(k, absent), new.get(k, absent), f"{prefix}{k}.")]
