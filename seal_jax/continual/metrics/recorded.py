"""Scores in files: JSON, CSV, or the directory of a run."""

from __future__ import annotations

import csv
import io
import logging
import math
import pathlib
import zipfile
from typing import Any, NamedTuple

import numpy as np

from seal_jax.continual.metrics.matrix import from_matrix, square
from seal_jax.data import json_fields

logger = logging.getLogger(__name__)

VECTORS = ("baseline", "single", "joint")
"""What a file may hold beside the matrix, a score for each task; see `from_matrix`."""


class Scores(NamedTuple):
    """A matrix of scores `[T, T]`, float64, NaN where nothing is known; the tasks' names; vectors `[T]` or None."""

    matrix: np.ndarray
    tasks: list[str]
    baseline: np.ndarray | None = None
    single: np.ndarray | None = None
    joint: np.ndarray | None = None

    def figures(self, holes: bool = False) -> dict[str, float]:
        """`from_matrix` of all of it."""
        return from_matrix(self.matrix, self.baseline, self.single, self.joint, holes=holes)


def from_run(directory: pathlib.Path, holes: bool = False) -> dict[str, float]:
    """The figures of a run from its result.json; ValueError if that holds no matrix."""
    return read_scores(directory).figures(holes)


def read_scores(path: pathlib.Path) -> Scores:
    """The scores in a file, or in the result.json of a run's directory.

    JSON: `{"matrix": [[...], ...], "tasks": [names], "baseline": [...], "single": [...], "joint": [...]}`, of which
    only the matrix has to be there, or the matrix alone; null is not known, and rows may end early. CSV (.csv): a row
    for each task learned and a column for each task, an empty cell is not known; a first row of task names and a first
    column of row names may be there, and rows named baseline, single and joint are the vectors; .tsv is the same with
    tabs. NumPy: the matrix alone (.npy), or arrays by the names of the JSON (.npz). Names that are numbers,
    such as years, are whole ones over 100, or begin with an empty cell before a column of row names. Scores may all
    have a % sign, and are then in percent.
    A vector that goes beyond 1 beside a matrix that does not, or the other way round, is warned of, as percents and
    shares.
    Raises ValueError naming the place of what cannot be read; OSError if there is no such file.
    """
    path = path / "result.json" if path.is_dir() else path
    if path.suffix.lower() in (".npy", ".npz"):
        return _from_json(_arrays(path), path)
    content = json_fields.read_text(path, "a matrix of scores")
    if path.suffix.lower() in (".csv", ".tsv"):
        return _from_csv(content, path)
    return _from_json(json_fields.parse(content, path), path)


def _from_json(loaded: Any, path: pathlib.Path) -> Scores:
    loaded = {"matrix": loaded} if isinstance(loaded, list) else loaded
    rows = json_fields.get(loaded, "matrix", list, str(path))
    for i, row in enumerate(rows):
        if not isinstance(row, list):
            raise ValueError(f'{path}: "matrix"[{i}] should be a list of scores, not {json_fields.named(row)}')
    numbers = [_numbers(row, f'{path}: "matrix"[{i}]') for i, row in enumerate(rows)]
    given = {n: _numbers(loaded[n], f'{path}: "{n}"') for n in VECTORS if loaded.get(n) is not None}
    names = loaded.get("tasks")
    return _scores(path, numbers, [str(name) for name in names] if isinstance(names, list) else [], given)


def _from_csv(content: str, path: pathlib.Path) -> Scores:
    lines = csv.reader(io.StringIO(content), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    table = [(lines.line_num, [cell.strip() for cell in row]) for row in lines if any(cell.strip() for cell in row)]
    names: list[str] = []
    if table and (any(cell and not _is_number(cell) for cell in table[0][1][1:] or table[0][1]) or _numbered(table)):
        names = table.pop(0)[1]
    named = bool(table) and all(row[0] and not _is_number(row[0]) for _, row in table)
    names = names[1:] if named else names
    rows, given = [], {}
    signs = {cell.endswith("%") for _, row in table for cell in row[named:] if _is_number(cell)}
    for line, row in table:
        cells = row[1:] if named else row
        scores = [
            _cell(cell, f"{path}: line {line}, column {c + 1 + named}", True in signs) for c, cell in enumerate(cells)
        ]
        if named and row[0].lower() in VECTORS:
            given[row[0].lower()] = scores
        else:
            rows.append(scores)
    if not (names or named) and len(rows) == max(map(len, rows)) + 1 and all(cell.isdecimal() for cell in table[0][1]):
        line, row = table[0]
        raise ValueError(
            f"{path}: {len(rows)} rows of scores for {len(row)} tasks; if line {line} ({','.join(row)}) names the "
            "tasks, begin it with an empty cell and each row with a name"
        )
    return _scores(path, rows, names, given)


def _scores(path: pathlib.Path, rows: list[list[float]], names: list[str], given: dict[str, list[float]]) -> Scores:
    try:
        matrix = square(rows)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    names = names or [f"task {i}" for i in range(len(matrix))]
    for what, found in {"tasks": names, **given}.items():
        if len(found) != len(matrix):
            raise ValueError(f"{path}: {what} has {len(found)} entries and the matrix {len(matrix)} tasks")
    for what, found in given.items():
        _warn_of_units(path, what, matrix, np.array(found))
    return Scores(matrix, names, **{name: np.array(x) for name, x in given.items()})


def _warn_of_units(path: pathlib.Path, what: str, matrix: np.ndarray, vector: np.ndarray) -> None:
    most, other = (np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in (matrix, vector))
    if (0 < most <= 1 < other) or (0 < other <= 1 < most):
        logger.warning("%s: the matrix goes up to %g and %s to %g: are both in one unit?", path, most, what, other)


def _arrays(path: pathlib.Path) -> Any:
    """What a NumPy file holds, as JSON would have it."""
    try:
        with path.open("rb") as handle:
            found = np.load(handle)
            if isinstance(found, np.ndarray):
                return found.tolist()
            return {name: found[name].tolist() for name in found.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a NumPy file of numbers: {error}") from None


def _numbers(values: Any, where: str) -> list[float]:
    if not isinstance(values, list):
        raise ValueError(f"{where} should be a list of scores, not {json_fields.named(values)}")
    return [json_fields.number(value, f"{where}[{i}]") for i, value in enumerate(values)]


def _numbered(table: list[tuple[int, list[str]]]) -> bool:
    """Whether the first of more than one row holds names that are numbers."""
    (_, first), others = table[0], [row for _, row in table[1:]]
    if not first[0]:
        return len(first) > 1 and bool(others) and all(row[0] and not _is_number(row[0]) for row in others)
    years = all(cell.isdecimal() and int(cell) > 100 for cell in first)
    return years and len(others) == len(first) == len(set(first))


def _cell(cell: str, where: str, percent: bool) -> float:
    if not cell:
        return math.nan
    if not _is_number(cell):
        raise ValueError(f"{where}: {cell!r:.40} is no score; leave the cell empty where none is known")
    if percent and not cell.endswith("%"):
        raise ValueError(f"{where}: {cell!r} has no % and other scores have: use one unit")
    return float(cell.removesuffix("%"))


def _is_number(cell: str) -> bool:
    try:
        float(cell.removesuffix("%"))
    except ValueError:
        return False
    return True
