"""Which files of a checkpoint directory may be opened: regular files that are in it."""

from __future__ import annotations

from pathlib import Path

from seal_jax.models.errors import CheckpointError


def member(folder: Path, name: str) -> Path:
    """`folder / name`, a regular file in `folder`, or in the cache of the hub that `folder` is a snapshot of.

    Raises CheckpointError for a name that is not a single path component, and for a file that is absent, not regular
    (a directory, a pipe), or a link out of the directory.
    """
    path = folder / name
    if not name or Path(name).name != name or "\0" in name:
        raise CheckpointError(f"{folder}: {name!r} is not the name of a file in this directory")
    if not path.is_file():
        raise CheckpointError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    root, real = folder.resolve(), path.resolve()
    # The hub's cache keeps the files of its snapshots in a directory `blobs` beside them.
    roots = [root, *([root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [])]
    if not any(real.is_relative_to(allowed) for allowed in roots):
        raise CheckpointError(f"{path}: links to {real}, outside of its directory; expected a file, copy it there")
    return path
