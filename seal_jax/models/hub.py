"""From a path or a hub name to a local directory. The only place of this package that may use the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seal_jax.models.errors import CheckpointError

# The same weights once more, in their authors' own layout, as Mistral's and Llama's repositories have them.
_TWICE = ("consolidated*", "original/*")


def local_folder(path: str | Path, patterns: Sequence[str]) -> Path:
    """`path` where it is a directory, else a snapshot of the hub repository of that name.

    patterns: the files to fetch, as globs; nothing is fetched for a local path. Raises CheckpointError if there is
    neither.
    """
    if Path(path).is_dir():
        return Path(path)
    if Path(path).exists() or Path(path).is_absolute() or str(path).count("/") > 1 or str(path).startswith("."):
        raise CheckpointError(f"{path}: not a directory; expected a checkpoint directory or a hub name (owner/model)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(path), allow_patterns=list(patterns), ignore_patterns=list(_TWICE)))
    except Exception as error:
        message = f"{path}: no such directory, and no hub name that can be fetched ({type(error).__name__}: {error})"
        raise CheckpointError(message) from error
