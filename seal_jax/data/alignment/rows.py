"""Rows of prompt lists: what benchmarks are read from, and besides it tables (.csv) and plain lists (.txt)."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping
from typing import Any

from seal_jax.data import json_fields
from seal_jax.data.benchmarks.sources import Source, read_splits, split_of
from seal_jax.data.json_fields import Row


def read(source: Source, configs: tuple[str, ...] = (), folders: bool = False) -> dict[str, list[Row]]:
    """The rows of each split with where each is, as `benchmarks.read_splits`.

    A `.csv` file has a line of column names; a `.txt` file has a prompt a line, each row a string. Raises as
    `read_splits`, and ValueError for a table without rows or with a row of another length than its first.
    """
    if isinstance(source, Mapping):
        found = {split: read(path, configs, folders) for split, path in source.items()}
        return {split: [row for rows in parts.values() for row in rows] for split, parts in found.items()}
    path = pathlib.Path(source).expanduser()
    if path.suffix in (".csv", ".txt") and path.is_file():
        return {split_of(path.name): (_table if path.suffix == ".csv" else lines)(path)}
    if path.suffix in (".csv", ".txt"):
        raise FileNotFoundError(f"{source}: no such file")
    return read_splits(source, configs, folders)


def lines(path: pathlib.Path) -> list[Row]:
    """The lines of a text file that are not blank, without the spaces around them. ValueError if there is none."""
    text = json_fields.read_text(path, "a prompt a line")
    return [(f"{path}: line {n}", line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]


def _table(path: pathlib.Path) -> list[Row]:
    reader = csv.reader(io.StringIO(json_fields.read_text(path, "a table"), newline=""), strict=True)
    try:
        header = next(reader)
        rows = [(f"{path}: line {reader.line_num}", row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: not a table that can be read: {error}") from None
    for where, row in rows:
        if len(row) != len(header):
            raise ValueError(f"{where}: {len(row)} values for the {len(header)} columns {', '.join(header)}")
    if not rows:
        raise ValueError(f"{path}: no rows below the column names {', '.join(header)}")
    return [(where, dict(zip(header, row))) for where, row in rows]


def first_text(row: Any, names: tuple[str, ...], where: str) -> str:
    """The text of the first of these columns that a row has, which is not blank; a row that is text is that text.

    Raises ValueError starting with `where` if it has none of them, or one that is blank or no text.
    """
    if isinstance(row, str):
        found = row
    else:
        name = next((name for name in names if isinstance(row, dict) and name in row), names[0])
        found = json_fields.text(row, name, where)
    if not found.strip():
        raise ValueError(f"{where}: the prompt is empty")
    return found.strip()


def texts(value: Any, name: str, where: str) -> tuple[str, ...]:
    """A list of texts, or one text in which ";" stands between them, as a tuple. ValueError for anything else."""
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{where}: {name!r} should be a list of texts, or texts with ';' between them")
    return tuple(part.strip() for part in parts if part.strip())
