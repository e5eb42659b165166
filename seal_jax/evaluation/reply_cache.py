"""Replies of a served model on disk, by the hash of the request."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, BinaryIO


def request_hash(request: Mapping[str, Any]) -> str:
    """SHA-256 in hexadecimal of a request as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


class ReplyCache:
    """`{hash: reply}`, one JSON object a line; without a path nothing is kept beyond the process.

    Beside each reply is the hash of how it was asked for: of the request without its messages. A line is appended in
    one write, so that several processes may share the file; a line that a kill has cut short, or that is anything else,
    is passed over, and what is appended afterwards is not hurt by it.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else pathlib.Path(path)
        self._replies: dict[str, str] = {}
        self._answered: set[str] = set()
        if self._path is not None and self._path.exists():
            for key, reply, how in filter(None, map(_parse, self._path.read_bytes().split(b"\n"))):
                self._replies[key] = reply
                self._answered.add(how)

    def get(self, key: str) -> str | None:
        """The reply kept under a hash, or None."""
        return self._replies.get(key)

    def answered(self, how: str) -> bool:
        """Whether there is a reply that was asked for in this way."""
        return how in self._answered

    def add(self, key: str, reply: str, how: str = "") -> None:
        """Keep a reply, at once on disk."""
        self._replies[key] = reply
        self._answered.add(how)
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"request": key, "how": how, "reply": reply}) + "\n"
        with self._path.open("a+b", buffering=0) as handle:
            handle.write((_closing(handle) + line).encode())


def _closing(handle: BinaryIO) -> str:
    """The line end that a killed process has left out."""
    if not handle.seek(0, os.SEEK_END):
        return ""
    handle.seek(-1, os.SEEK_END)
    return "" if handle.read(1) == b"\n" else "\n"


def _parse(line: bytes) -> tuple[str, str, str] | None:
    try:
        row = json.loads(line)
        found = row["request"], row["reply"], row.get("how", "")
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if all(isinstance(part, str) for part in found) else None
