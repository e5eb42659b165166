"""A run directory that remembers: settings, metrics, finished stages and finished items.

    DIR/config.json      the settings, written at the start; a resumed run must have the same
    DIR/metrics.jsonl    one row per `Run.log`, flushed as written
    DIR/stages/NAME.json what a stage returned and how long it took; NAME.tree for arrays, NAME.jsonl for its items
    DIR/checkpoints/     for the caller's `Checkpointer`
    DIR/result.json      the result, written once at the end

A stage that has finished is loaded, a stage that was killed goes on at its next item, so a run that is started again
with the same arguments gives the same numbers as one that was never stopped.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from seal_jax.runtime import lock, settings
from seal_jax.runtime.files import DamagedFileError, JsonLines, read_json, to_plain, write_json
from seal_jax.runtime.items import Items
from seal_jax.runtime.manifest import DamagedCheckpointError

FIGURES = (
    *("accuracy.png", "matrix.png", "gain_by_age.png"),
    *("learning_curves.png", "scale_vectors.png", "mixing_weights.png", "rain.png"),
)
LINES = ("metrics.jsonl", "texts.jsonl")
OWN = (
    *("config.json", "result.json", "stages", "checkpoints", "trees"),
    *(f"{name}{ending}" for name in LINES for ending in ("", ".damaged")),
    *FIGURES,
)
"""What a run makes at the top of its directory, and therefore all that a restart deletes there."""


class Run:
    """One run in one directory; a context manager that holds the directory's lock.

    out_dir: made if missing. config: a dataclass or dict of settings, compared on resume except for
    `settings.NOT_SETTINGS`. restart: delete what an earlier run left there and begin again.
    Raises ValueError if the directory holds a run with other settings, DirectoryInUseError if another process is
    writing it.
    """

    def __init__(self, out_dir: str | os.PathLike[str], config: Any, restart: bool = False) -> None:
        self.dir = pathlib.Path(out_dir)
        self.seconds: dict[str, float] = {}
        """Seconds by stage, earlier attempts included; stages that were loaded count what they took then."""
        self._items: dict[str, Items] = {}
        self.dir.mkdir(parents=True, exist_ok=True)
        self._lock = lock.acquire(self.dir / ".lock")
        try:
            if restart:
                _clear(self.dir)
            self.resumed: bool = settings.check_or_write(self.dir, config)
            self._metrics = JsonLines(self.dir / "metrics.jsonl")
        except BaseException:
            lock.release(self._lock)
            raise
        self._logged = {row["id"] for row in self._metrics.rows if "id" in row}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def stage(self, name: str, compute: Callable[[], Any], kind: str = "json", like: Any = None) -> Any:
        """The result of `compute()`, computed once in the life of the directory and loaded ever after.

        name: "round_0/edits": letters, digits, `_ . -`, with `/` for folders. kind: "json" for plain data, "tree" for
        a pytree of arrays (see `checkpoint.save`), restored into the structure of `like`. What is returned the first
        time has been through the file as well, so that a resumed run sees exactly the same values.
        """
        if kind not in ("json", "tree"):
            raise ValueError(f"stage {name!r}: kind={kind!r} is not one of 'json', 'tree'")
        loaded = self._load(name, kind, like)
        if loaded is None:
            self._compute(name, compute, kind)
            loaded = self._load(name, kind, like)
            assert loaded is not None, f"stage {name!r} was written and cannot be read"
        self.seconds[name], value = loaded
        return value

    def _compute(self, name: str, compute: Callable[[], Any], kind: str) -> None:
        started = time.perf_counter()
        value = compute()
        spent = time.perf_counter() - started
        items = self._items.get(name)
        seconds = round(spent + (items.earlier_seconds if items else 0.0), 3)
        if kind == "tree":
            _save_tree(self.path(name, ".tree"), value)
        # Written last: this file is what makes the stage finished.
        write_json(
            self.path(name, ".json"), {"seconds": seconds, "kind": kind, "value": value if kind == "json" else None}
        )

    def _load(self, name: str, kind: str, like: Any) -> tuple[float, Any] | None:
        """Seconds and value of a finished stage, or None if it is not finished or its files are damaged."""
        done = self.path(name, ".json")
        if not done.exists():
            return None
        try:
            record = read_json(done)
            value = record["value"] if kind == "json" else _restore_tree(self.path(name, ".tree"), like)
            return record["seconds"], value
        except (DamagedCheckpointError, DamagedFileError, KeyError) as error:
            warnings.warn(f"stage {name!r} is computed again, its result is damaged: {error}", stacklevel=3)
            return None

    def items(self, name: str) -> Items:
        """The item store of stage `name` (opened once): progress inside a stage, kept through a kill."""
        if name not in self._items:
            self._items[name] = Items(self.path(name, ".jsonl"))
        return self._items[name]

    def finished(self, name: str) -> bool:
        """Whether stage `name` has its result on disk."""
        return self.path(name, ".json").exists()

    def log(self, row: Mapping[str, Any], id: str | None = None) -> None:
        """Append one row to metrics.jsonl. With an `id` that a resumed run has already logged, nothing is written."""
        if id is None:
            self._metrics.append(row)
        elif id not in self._logged:
            self._metrics.append({"id": id, **row})
            self._logged.add(id)

    def finish(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Write result.json (atomically) and return it as plain data."""
        plain = to_plain(result, "result")
        write_json(self.dir / "result.json", plain)
        return plain

    @property
    def checkpoints(self) -> pathlib.Path:
        """The folder for this run's `Checkpointer`s; a restart deletes it, `drop_checkpoints` a part of it."""
        return self.dir / "checkpoints"

    def drop_checkpoints(self, name: str) -> None:
        """Delete `checkpoints/NAME`, what a part that is finished went on from, and the folders that this empties."""
        folder = self.checkpoints / name
        shutil.rmtree(folder, ignore_errors=True)
        while folder != self.dir and (not folder.exists() or not any(folder.iterdir())):
            if folder.exists():
                folder.rmdir()
            folder = folder.parent

    def path(self, name: str, suffix: str) -> pathlib.Path:
        """Where stage `name` keeps its file with `suffix`. Raises ValueError for a name that is not a plain path."""
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*", name):
            raise ValueError(f"stage name {name!r}: use letters, digits, '_', '.', '-', and '/' between the parts")
        return self.dir / "stages" / f"{name}{suffix}"

    def close(self) -> None:
        """Close the files and give the directory free."""
        self._metrics.close()
        for items in self._items.values():
            items.close()
        lock.release(self._lock)


def _save_tree(path: pathlib.Path, value: Any) -> None:
    from seal_jax.runtime import checkpoint  # orbax takes seconds to import, and many runs keep JSON only

    checkpoint.save(path, value)


def _restore_tree(path: pathlib.Path, like: Any) -> Any:
    from seal_jax.runtime import checkpoint

    return checkpoint.restore(path, like)


def _clear(folder: pathlib.Path) -> None:
    for name in OWN:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
