"""Which files of a checkpoint directory may be opened: regular files that are in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeGuard

from seal_jax.models.errors import CheckpointError

_TOKENIZER_PATTERNS = ("*token*", "vocab*", "merges*", "*.jinja", "*.tiktoken")

_UNREAD = ("special_tokens_map_file",)  # where its author's was, as GPT-NeoX's and Pythia's tell; nothing opens it


def is_file_name(name: Any) -> TypeGuard[str]:
    """Whether `name` is a string that can name a file in a directory: one path component that encodes."""
    if not isinstance(name, str) or not 0 < len(name) < 256 or "\0" in name or Path(name).name != name:
        return False
    return not any("\ud800" <= c <= "\udfff" for c in name)


def member(folder: Path, name: str) -> Path:
    """`folder / name`, a regular file in `folder`, or in the cache of the hub that `folder` is a snapshot of.

    Raises CheckpointError for a name that is not a single path component, and for a file that is absent, not regular
    (a directory, a pipe), or a link out of the directory.
    """
    if not is_file_name(name):
        raise CheckpointError(f"{folder}: {name[:200]!r} is not the name of a file in this directory")
    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    root, real = folder.resolve(), path.resolve()
    # The hub's cache keeps the files of its snapshots in a directory `blobs` beside them.
    roots = [root, *([root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [])]
    if not any(real.is_relative_to(allowed) for allowed in roots):
        raise CheckpointError(f"{path}: links to {real}, outside of its directory; expected a file, copy it there")
    return path


def check_tokenizer(folder: Path) -> None:
    """Check that reading the tokenizer of `folder` opens files in it alone, and runs none.

    Raises CheckpointError for a tokenizer file that `member` refuses, and for settings that name other files or code.
    """
    for path in sorted(path for pattern in _TOKENIZER_PATTERNS for path in folder.glob(pattern)):
        if not path.is_dir() or path.suffix == ".json":
            member(folder, path.name)
    settings = folder / "tokenizer_config.json"
    if not settings.exists():
        return
    try:
        values = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{settings}: not a JSON object in UTF-8 ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{settings}: holds a {type(values).__name__}; expected a JSON object")
    if values.get("auto_map"):
        raise CheckpointError(f"{settings}: auto_map names code to run; expected a tokenizer of transformers' own")
    for field in (name for name in values if name not in _UNREAD):
        value = values[field]
        named = value if isinstance(value, list) else [value]
        if field.endswith(("_file", "_files")) and not all(n is None or is_file_name(n) for n in named):
            raise CheckpointError(f"{settings}: {field}={value!r} is not the name of a file beside it")
