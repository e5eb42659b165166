"""Progress inside a stage: finished items by id, kept through a kill."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from seal_jax.runtime.files import JsonLines


class Items:
    """The finished items of one stage, `{id: value}` on disk, one JSON line each.

    `for id in items.missing(ids): items.add(id, value)` goes on where a killed process stopped. Values are plain JSON
    data and read the same before and after a resume.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._lines = JsonLines(path)
        rows = [row for row in self._lines.rows if "id" in row and "value" in row]
        self._values = {row["id"]: row["value"] for row in rows}
        self.earlier_seconds: float = max((row.get("seconds") or 0.0 for row in rows), default=0.0)
        """Time that earlier, killed attempts had spent when they wrote their last item."""
        self._opened = time.perf_counter()

    def __contains__(self, id: object) -> bool:
        return str(id) in self._values

    def __getitem__(self, id: object) -> Any:
        return self._values[str(id)]

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def missing(self, ids: Iterable[object]) -> list[Any]:
        """The ids that are not finished yet, in the order given."""
        return [id for id in ids if id not in self]

    def values(self, ids: Iterable[object]) -> list[Any]:
        """The values of `ids`, in the order given. Raises KeyError for one that is not finished."""
        return [self[id] for id in ids]

    def add(self, id: object, value: Any) -> Any:
        """Record the value of one item, at once on disk; returns it as a resumed run would read it."""
        seconds = round(self.earlier_seconds + time.perf_counter() - self._opened, 3)
        row = self._lines.append({"id": str(id), "value": value, "seconds": seconds})
        self._values[row["id"]] = row["value"]
        return row["value"]

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
