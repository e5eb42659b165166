"""Rows of a long job, kept as they come beside the file that they end in."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from seal_jax.runtime.files import JsonLines, dumps, to_plain, write_atomic


class KeptRows:
    """The rows of `OUT`, in `OUT.part` until all are there: a job that was killed goes on after its last whole batch.

    `OUT.part` has the settings in its first line, then a line for each batch, so that no batch is there in part. It is
    made with the first batch: a job that was refused before leaves nothing behind.
    """

    def __init__(self, out: pathlib.Path, settings: Mapping[str, Any]) -> None:
        """Look for what an earlier attempt left. Raises ValueError if that was made with other settings."""
        self.out, self.part = out, out.with_name(out.name + ".part")
        self.rows: list[dict[str, Any]] = []
        """All rows so far, in order."""
        self._first = {"settings": to_plain(settings)}
        self._file = JsonLines(self.part) if self.part.exists() else None
        found = self._file.rows if self._file else []
        if found and found[0] != self._first:
            raise ValueError(f"{self.part} was begun with other arguments: delete it, or give another --out")
        self.rows += [row for batch in found[1:] for row in batch["rows"]]

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Keep one batch, at once on disk."""
        if self._file is None:
            self._file = JsonLines(self.part)
        if not self._file.rows:
            self._file.append(self._first)
        self.rows += self._file.append({"rows": rows})["rows"]

    def finish(self) -> None:
        """Write `OUT`, one row a line, and delete `OUT.part`."""
        write_atomic(self.out, "".join(dumps(row) + "\n" for row in self.rows))
        if self._file:
            self._file.close()
        self.part.unlink(missing_ok=True)
