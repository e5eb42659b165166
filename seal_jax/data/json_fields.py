"""JSON from files that others wrote: each fault is one ValueError that says where it is and what would be right."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Any

Row = tuple[str, Any]
"""Where an item is ("data.json: item 3"), and the item."""

WORDS = {dict: "an object", list: "a list", str: "a string", int: "an integer", bool: "true or false"}
"""JSON's names of types, for messages."""


def read_text(path: pathlib.Path, expected: str = "JSON") -> str:
    """The text of a file, without a byte-order mark.

    ValueError with offset and line for a byte that is not UTF-8, and for a file without text (`expected` says what
    belongs there); OSError if it cannot be read.
    """
    data = path.read_bytes()
    try:
        content = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise ValueError(f"{path}: not UTF-8, byte 0x{byte:02x} at offset {error.start} on line {line}") from None
    if not content.strip():
        raise ValueError(f"{path}: the file is empty; expected {expected}")
    return content


def parse(content: str, path: pathlib.Path, line: int = 0) -> Any:
    """The value of a JSON text; `line` is the number of the line it is, 0 for the whole file. ValueError if invalid."""
    at_line = f" at line {line}" if line else ""
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        where = f"line {line or error.lineno}, column {error.colno}"
        raise ValueError(f"{path}: invalid JSON at {where}: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{path}: invalid JSON{at_line}: lists or objects nested too deeply") from None
    except ValueError:  # Python reads no integer of more than some thousand digits
        raise ValueError(f"{path}: invalid JSON{at_line}: a number with more digits than can be read") from None


def rows(path: pathlib.Path, expected: str) -> list[Row]:
    """The items of a file with where each is: of a JSON list, of `{"data": [...]}`, or the lines of a `.jsonl` file.

    expected: what the items are, for the message ("passages"). ValueError as `read_text` and `parse`.
    """
    content = read_text(path, f"a JSON list of {expected}")
    if path.suffix == ".jsonl":
        lines = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
        return [(f"{path}: line {number}", parse(line, path, number)) for number, line in lines]
    return rows_of(parse(content, path), path, expected)


def rows_of(loaded: Any, path: pathlib.Path, expected: str) -> list[Row]:
    """As `rows`, of a JSON value that has been read."""
    loaded = loaded["data"] if isinstance(loaded, dict) and "data" in loaded else loaded
    if not isinstance(loaded, list):
        raise ValueError(f'{path}: expected a list of {expected} or {{"data": [...]}}, not {named(loaded)}')
    return [(f"{path}: item {index}", item) for index, item in enumerate(loaded)]


def get(item: Any, key: str, kind: type, where: str) -> Any:
    """`item[key]`, which has to be a `kind` (of WORDS); True and False are no integers.

    ValueError starting with `where` if `item` is no object, has no such key, or a value of another type.
    """
    if not isinstance(item, dict):
        raise ValueError(f"{where}: expected an object with the key {key!r}, not {named(item)}")
    if key not in item:
        raise ValueError(f"{where}: missing key {key!r} (found: {', '.join(item) or 'no keys'})")
    value = item[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise ValueError(f"{where}: {key!r} should be {WORDS[kind]}, not {shown(value)}")
    return value


def text(item: Any, key: str, where: str) -> str:
    """`get` of a string."""
    return get(item, key, str, where)


def number(value: Any, where: str) -> float:
    """A JSON number as a float; NaN for null, infinity and what is beyond a float. ValueError for another type."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{where} should be a number or null, not {shown(value)}")
    try:
        found = float(value)
    except OverflowError:
        return math.nan
    return found if math.isfinite(found) else math.nan


def shown(value: Any) -> str:
    """A value in a message: the start of its repr, without writing out a long one."""
    if isinstance(value, (list, dict)):
        return f"{WORDS[type(value)]} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "a number beyond 1e30"
    return f"{value!r:.60}"


def named(value: Any) -> str:
    """The kind of a value in a message: "a list", "an object", "null"."""
    return "null" if value is None else WORDS.get(type(value), "a number")
