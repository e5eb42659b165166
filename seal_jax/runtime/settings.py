"""The settings of a run directory: written once, compared ever after."""

from __future__ import annotations

import pathlib
import platform
from importlib.metadata import version
from typing import Any

from seal_jax.runtime.files import DamagedFileError, read_json, to_plain, write_json

NOT_SETTINGS = (
    "out",
    "restart",
    "json",
    "export",
    "mesh",
    "endpoint_concurrency",
    "endpoint_key_variable",
    "endpoint_retries",
    "endpoint_timeout",
    "group",
    "reinforce.micro_batch",
    "reinforce.remat",
    "reinforce.rows",
    "settings.answering.endpoint.cache",
    "settings.answering.endpoint.concurrency",
    "settings.answering.endpoint.key_variable",
    "settings.answering.endpoint.retries",
    "settings.answering.endpoint.timeout",
    "settings.answering.endpoint.wait",
    "settings.edits.rows",
    "settings.inner.at_once",
    "settings.inner.remat",
    "settings.policy.remat",
    "settings.prediction.rows",
    "settings.ttt.at_once",
    "settings.ttt.remat",
    "score_rows",
    "slots",
    "strategy.remat",
    "supervised.micro_batch",
    "supervised.remat",
    "supervised.rows",
)
"""Fields, dotted, that change no number by more than rounding, so they may differ when a run is resumed."""

FILE_HASH = "_sha256"
"""Ending of the fields that hold the SHA-256 of an input file: where one differs, the file is said to have changed."""

ABSENT = "(not set)"


def check_or_write(folder: pathlib.Path, config: Any) -> bool:
    """Compare `config` (a dataclass or dict) with the directory's settings, or write them if it has none.

    Returns True if the directory already held this run. Settings under which nothing was computed are replaced.
    Raises ValueError naming every field that differs.
    """
    path = folder / "config.json"
    plain = to_plain(config, "config")
    begun = _has_work(folder)
    if begun and not path.exists():
        raise ValueError(f"{folder} holds stages of a run but no config.json; pass --restart or another --out")
    try:
        changed = _differences(read_json(path), plain) if path.exists() else ["everything is new"]
    except DamagedFileError as error:
        if begun:
            raise DamagedFileError(f"{error}; pass --restart to begin the run again, or another --out") from error
        changed = ["the file is damaged"]
    if changed and begun:
        raise ValueError(
            f"{folder} holds a run with other settings: {'; '.join(changed)}. "
            "Pass --restart to begin it again, or another --out"
        )
    if changed:
        made_with = {"seal_jax": _version("seal-jax"), "jax": _version("jax"), "python": platform.python_version()}
        write_json(path, {**plain, "_made_with": made_with})
    return not changed


def _has_work(folder: pathlib.Path) -> bool:
    """Whether anything was computed here: a finished stage, an item of one, a checkpoint, a logged row, a result."""
    files = (p for name in ("stages", "checkpoints") for p in (folder / name).rglob("*"))
    files = (*files, folder / "metrics.jsonl", folder / "result.json")
    return any(p.is_file() and p.stat().st_size > 0 for p in files)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:  # run from a source tree that was never installed
        return None


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """What differs between two settings, each in words; `prefix` is the dotted name of the field they are."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old == new:
            return []
        if prefix.endswith(FILE_HASH) and ABSENT not in (old, new):
            return [f"{prefix.removesuffix(FILE_HASH)} file changed"]
        return [f"{prefix} was {old!r}, now {new!r}"]
    names = {key: f"{prefix}.{key}" if prefix else key for key in [*old, *new]}
    return [
        difference
        for key, name in names.items()
        if name not in (*NOT_SETTINGS, "_made_with")
        for difference in _differences(old.get(key, ABSENT), new.get(key, ABSENT), name)
    ]
