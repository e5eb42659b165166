"""The `manifest.json` beside an orbax folder: what its leaves are, and a checksum of every file."""

from __future__ import annotations

import json
import pathlib
import zlib
from typing import Any

from seal_jax.runtime.files import dumps, write_atomic

FORMAT = 1
NAME = "manifest.json"


class TreeCheckpointError(ValueError):
    """The checkpoint of a tree cannot be used: it is not there, or does not have the structure asked for.

    Not `models.CheckpointError`, which is about models and adapters in the Hugging Face and PEFT layouts.
    """


class DamagedCheckpointError(TreeCheckpointError):
    """A checkpoint is there, but does not hold the bytes that were written."""


def write(folder: pathlib.Path, leaves: list[dict[str, Any]]) -> None:
    """Describe `leaves` and every file now in `folder`; the last thing written into a checkpoint."""
    body = {"format": FORMAT, "leaves": leaves, "files": _checksums(folder)}
    write_atomic(folder / NAME, dumps({"crc32": _crc32(body), "body": body}))


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The leaf descriptions of a checkpoint whose files have all been compared with their checksums.

    Raises DamagedCheckpointError naming the file that is missing or changed, TreeCheckpointError for an unknown format.
    """
    path = folder / NAME
    try:
        record = json.loads(path.read_bytes())
        body, expected = record["body"], record["crc32"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(f"{path} is missing or not readable ({error})") from error
    if _crc32(body) != expected:
        raise DamagedCheckpointError(f"{path} has changed since it was written")
    if body["format"] != FORMAT:
        raise TreeCheckpointError(f"{path} has format {body['format']!r}; this version reads {FORMAT}")
    found = _checksums(folder)
    for name, checksum in body["files"].items():
        if found.get(name) != checksum:
            what = "has changed since it was written" if name in found else "is missing"
            raise DamagedCheckpointError(f"{folder / name} {what}")
    return body["leaves"]


def _checksums(folder: pathlib.Path) -> dict[str, int]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / NAME)
    return {p.relative_to(folder).as_posix(): _file_crc32(p) for p in files}


def _file_crc32(path: pathlib.Path, block: int = 1 << 22) -> int:
    value = 0
    with path.open("rb") as handle:
        while data := handle.read(block):
            value = zlib.crc32(data, value)
    return value


def _crc32(body: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())
