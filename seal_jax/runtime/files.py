"""Files that survive a kill: strict JSON, atomic replacement, and JSON Lines whose torn end is repaired."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any


class DamagedFileError(ValueError):
    """A file does not hold what its name promises: not JSON, or not UTF-8."""


def to_plain(value: Any, where: str = "value") -> Any:
    """`value` as plain JSON data: dict, list, str, int, float, bool, None.

    Arrays (NumPy, JAX) become nested lists, dataclasses and named tuples dicts, paths strings, and NaN or infinity
    None, because strict JSON has no word for them. Raises TypeError that names the place of anything else.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, type):
        raise TypeError(f"{where} is the class {value.__name__}, which JSON cannot hold")
    if dataclasses.is_dataclass(value):
        return to_plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, where)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return to_plain(value._asdict(), where)  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, Mapping):
        return {str(k): to_plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if hasattr(value, "tolist"):  # arrays and NumPy scalars, without importing either library
        return to_plain(value.tolist(), where)
    raise TypeError(f"{where} is a {type(value).__name__}, which JSON cannot hold")


def dumps(value: Any, indent: int | None = None) -> str:
    """Strict JSON text of anything `to_plain` accepts; NaN and infinity are written as null."""
    return json.dumps(to_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Replace the file `path` by `data` (text as UTF-8): after a kill it holds either the old content or the new."""
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            # A lone surrogate (half an emoji cut off by a tokenizer) must not lose the whole file.
            handle.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """`value` as indented strict JSON, atomically."""
    write_atomic(path, dumps(value, indent=2) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file. Raises DamagedFileError naming file and place if it is not UTF-8 JSON."""
    try:
        return json.loads(pathlib.Path(path).read_bytes().decode("utf-8"))
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are both ValueErrors
        raise DamagedFileError(f"{path} is not a JSON file in UTF-8: {error}") from error


class JsonLines:
    """A file of one JSON object a line, to which rows are appended and flushed one by one.

    Opening repairs what a kill left: a torn last line is cut off; any other line that is not a JSON object in UTF-8 is
    moved to `NAME.damaged` with a warning, so that the file is always valid and nothing is thrown away.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        """The rows that were in the file when it was opened, and those appended since."""
        self._repair()
        self._handle = self.path.open("ab")

    def append(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Write one row and flush it; returns the row as it will be read back (NaN as None, arrays as lists)."""
        line = dumps(row).encode("utf-8", "backslashreplace")
        self._handle.write(line + b"\n")
        self._handle.flush()
        self.rows.append(json.loads(line))
        return self.rows[-1]

    def close(self) -> None:
        """Close the file; appending afterwards is an error."""
        self._handle.close()

    def _repair(self) -> None:
        data = self.path.read_bytes() if self.path.exists() else b""
        good, damaged = [], []
        for number, line in _numbered(data):
            row = _parse(line)
            if row is not None:
                self.rows.append(row)
                good.append(line)
            elif number is not None:
                damaged.append(line)
                warnings.warn(f"{self.path} line {number} is not a JSON object in UTF-8; moved aside", stacklevel=3)
        if damaged:
            with self.path.with_name(self.path.name + ".damaged").open("ab") as handle:
                handle.writelines(line + b"\n" for line in damaged)
        repaired = b"".join(line + b"\n" for line in good)
        if repaired != data:
            write_atomic(self.path, repaired)


def _numbered(data: bytes) -> Iterator[tuple[int | None, bytes]]:
    """Non-empty lines with their 1-based number; None for a last line without its newline, cut short by a kill."""
    *lines, last = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line
    if last.strip():
        yield None, last


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
