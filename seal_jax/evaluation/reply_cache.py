"""Replies of a served model on disk, by the hash of the request."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any


def request_hash(request: Mapping[str, Any]) -> str:
    """SHA-256 in hexadecimal of a request as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


class ReplyCache:
    """`{hash: reply}`, one JSON object a line; without a path nothing is kept beyond the process.

    A line is appended in one write, so that several processes may share the file; a line that a kill has cut short, or
    that is anything else, is passed over, and what is appended afterwards is not hurt by it.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else pathlib.Path(path)
        self._replies: dict[str, str] = {}
        if self._path is not None and self._path.exists():
            self._replies = dict(filter(None, map(_parse, self._path.read_bytes().split(b"\n"))))

    def get(self, key: str) -> str | None:
        """The reply kept under a hash, or None."""
        return self._replies.get(key)

    def add(self, key: str, reply: str) -> None:
        """Keep a reply, at once on disk."""
        self._replies[key] = reply
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # The line end in front closes what a killed process may have left open.
        line = "\n" + json.dumps({"request": key, "reply": reply}) + "\n"
        with self._path.open("ab", buffering=0) as handle:
            handle.write(line.encode())


def _parse(line: bytes) -> tuple[str, str] | None:
    try:
        row = json.loads(line)
        key, reply = row["request"], row["reply"]
    except (ValueError, KeyError, TypeError):
        return None
    return (key, reply) if isinstance(key, str) and isinstance(reply, str) else None
