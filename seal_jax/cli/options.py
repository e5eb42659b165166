"""Arguments that commands share, and what is looked at before any work."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from typing import Any, Literal

Dtype = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The arguments of every run command. A command extends this once, and hands itself to `Run` as the settings."""

    out: pathlib.Path
    """The directory of the run: config.json, metrics.jsonl, result.json. A run that was stopped goes on from it."""
    restart: bool = False
    """Delete what an earlier run left in the directory and begin again."""
    seed: int = 0
    """Seed of everything random."""
    dtype: Dtype = "float32"
    """Type of the model's weights."""
    mesh: str = ""
    """Devices to spread the run over, such as "data=4,model=2": `data` splits edits and rows, `fsdp` those and the
    stored weights, `model` every matrix product; empty: one device."""
    json: bool = False
    """Print the result as one line of JSON on standard output, and nothing else there."""

    @property
    def resumes(self) -> bool:
        """Whether the same command goes on where this one was stopped."""
        return True

    def check(self) -> None:
        """Raise ValueError for an argument out of its range; called before any work. Extend it, calling this first."""
        at_least(0, seed=self.seed)
        check_mesh_text(self.mesh)


def at_least(least: int, **arguments: int | None) -> None:
    """Raise ValueError naming the first flag whose number is below `least`; None is no number."""
    for name, value in arguments.items():
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} {value}: use {least} or more")


def occupied(path: pathlib.Path) -> bool:
    """Whether `path` is there and is anything but an empty directory."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def file_sha256(path: pathlib.Path | None) -> str | None:
    """The SHA-256 of a file's bytes in hexadecimal; None without a file. OSError if it cannot be read.

    Of a directory: of the names and bytes of the files in it, in order of their names, hidden ones and folders left
    out.
    """
    if path is None:
        return None
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        parts = "".join(f"{file_sha256(file)}  {file.name}\n" for file in files)
        return hashlib.sha256(parts.encode(errors="surrogateescape")).hexdigest()
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def config_of(command: RunOptions, **files: pathlib.Path | None) -> dict[str, Any]:
    """The settings of a run: the command's arguments, as far as they have an effect, and what is in its input files.

    files: by name, each a file, a directory of files, or None.
    """
    from seal_jax.cli.arguments import without_fixed
    from seal_jax.runtime.files import to_plain

    return {
        **without_fixed(command, to_plain(command)),
        **{f"{name}_sha256": file_sha256(path) for name, path in files.items()},
    }


def check_mesh_text(mesh: str) -> None:
    """Raise ValueError for a --mesh that is not one."""
    if mesh:
        from seal_jax.runtime.mesh import axis_sizes  # imports jax, which no command's help should wait for

        axis_sizes(mesh)
