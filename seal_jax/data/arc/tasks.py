"""ARC tasks: demonstrations and test pairs of coloured grids, read from both public layouts."""

from __future__ import annotations

import json
import pathlib
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

Grid = tuple[tuple[int, ...], ...]  # rows of colours 0-9; hashable, so that tasks can be compared and counted
COLORS, LARGEST_SIDE = 10, 30


class Example(NamedTuple):
    """An input grid and its output; None where the output is not known."""

    input: Grid
    output: Grid | None


class Task(NamedTuple):
    """A task: demonstrations, and test pairs whose output is to be found (or None where it is not known)."""

    id: str
    demos: tuple[Example, ...]
    tests: tuple[Example, ...]

    def grids(self) -> list[Grid]:
        """Every grid there is: of each demonstration and then each test, the input and, where known, the output."""
        return [grid for example in (*self.demos, *self.tests) for grid in example if grid is not None]


def load_arc(
    path: str | pathlib.Path, solutions: str | pathlib.Path | None = None, ids: Collection[str] | None = None
) -> list[Task]:
    """The tasks of a file or directory, in file order (a directory in order of its names).

    path: a challenges file of the Kaggle competition (`{ID: {"train", "test"}}`); or a directory of `ID.json` as in the
    public repository; or one such file (`{"train", "test"}`). solutions: the Kaggle solutions file
    (`{ID: [output of each test]}`); left out, the file beside `path` is taken that has "solutions" in its name for
    "challenges", and if there is none, outputs of tests that the challenges do not state are None. ids: only these
    tasks, in their order.

    Raises ValueError that names file, task, example and cell: no tasks, invalid JSON, a missing key, one that is there
    twice, a grid that is not rows of equal length of integers 0-9 with sides of 1 to 30, tests and solutions of
    different number, an unknown id or one given twice. FileNotFoundError if there is no such path.
    """
    if ids is not None and (twice := repeated(ids)):
        raise ValueError(f"ids has {twice[0]!r} more than once")
    path = pathlib.Path(path)
    answers_at = pathlib.Path(solutions) if solutions is not None else _beside(path)
    answers = _read(answers_at) if answers_at else {}
    if not isinstance(answers, dict):
        raise ValueError(f"{answers_at}: expected an object of task ids, not a {type(answers).__name__}")
    tasks = {}
    for where, name, item in _items(path):
        if ids is None or name in ids:
            task = task_of(item, name, where)
            if answers_at:
                task = _answered(task, answers, f"{answers_at}: task {name}")
            tasks[name] = task
    if not tasks and not ids:
        raise ValueError(f"{path}: no tasks; expected a challenges file or a directory of ID.json files")
    unknown = [name for name in ids or () if name not in tasks]
    if unknown:
        raise ValueError(f"{path}: no task {', '.join(map(repr, unknown))}")
    return [tasks[name] for name in (tasks if ids is None else ids)]


def task_of(item: Any, name: str, where: str = "task") -> Task:
    """The task of one `{"train": [...], "test": [...]}` object; ValueError starting with `where` if it is none."""
    pairs = {}
    for key in ("train", "test"):
        found = item.get(key) if isinstance(item, dict) else None
        if not isinstance(found, list) or not found:
            raise ValueError(f'{where}: expected an object with the non-empty lists "train" and "test"; {key!r} is not')
        pairs[key] = tuple(_example(pair, key == "train", f"{where}, {key} {i}") for i, pair in enumerate(found))
    return Task(name, pairs["train"], pairs["test"])


def grid_of(rows: Any, where: str = "grid") -> Grid:
    """Rows of integers as a Grid; ValueError starting with `where` that names the row or cell if they are not one."""
    if not isinstance(rows, list | tuple) or not 1 <= len(rows) <= LARGEST_SIDE:
        raise ValueError(f"{where}: a grid has 1 to {LARGEST_SIDE} rows, not {_size(rows)}")
    for r, row in enumerate(rows):
        if not isinstance(row, list | tuple) or not 1 <= len(row) <= LARGEST_SIDE:
            raise ValueError(f"{where}, row {r}: a row has 1 to {LARGEST_SIDE} cells, not {_size(row)}")
        if len(row) != len(rows[0]):
            raise ValueError(f"{where}, row {r}: {len(row)} cells, where row 0 has {len(rows[0])}")
        for c, cell in enumerate(row):
            if type(cell) is not int or not 0 <= cell < COLORS:
                raise ValueError(f"{where}, row {r}, column {c}: a cell is an integer 0-9, not {shown(cell)}")
    return tuple(map(tuple, rows))


def fits_in(grids: Iterable[Grid], side: int = LARGEST_SIDE) -> bool:
    """Whether no grid has a side over `side`."""
    return all(len(grid) <= side and len(grid[0]) <= side for grid in grids)


def repeated(keys: Iterable[str]) -> list[str]:
    """The keys that are there more than once, in the order of their first places."""
    return [key for key, count in Counter(keys).items() if count > 1]


def shown(value: Any) -> str:
    """At most 40 characters that show a value from outside; Python writes no integer of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    return f"{value!r:.40}"


def _size(value: Any) -> str:
    return str(len(value)) if isinstance(value, list | tuple) else shown(value)


def _example(pair: Any, demo: bool, where: str) -> Example:
    if not isinstance(pair, dict) or "input" not in pair:
        raise ValueError(f'{where}: expected an object with the key "input"')
    if demo and pair.get("output") is None:
        raise ValueError(f'{where}: a demonstration has an "output"')
    output = pair.get("output")
    return Example(
        grid_of(pair["input"], f"{where}, input"), None if output is None else grid_of(output, f"{where}, output")
    )


def _answered(task: Task, answers: dict[str, Any], where: str) -> Task:
    if task.id not in answers:
        raise ValueError(f"{where}: no solution; leave `solutions` out to read tasks without outputs")
    outputs = answers[task.id]
    if not isinstance(outputs, list) or len(outputs) != len(task.tests):
        raise ValueError(f"{where}: {_size(outputs)} solutions for {len(task.tests)} tests")
    known = tuple(
        example._replace(output=grid_of(output, f"{where}, solution {i}"))
        for i, (example, output) in enumerate(zip(task.tests, outputs))
    )
    return task._replace(tests=known)


def _items(path: pathlib.Path) -> Iterable[tuple[str, str, Any]]:
    if path.is_dir():
        return [(str(file), file.stem, _read(file)) for file in sorted(path.glob("*.json"))]
    loaded = _read(path)
    if not isinstance(loaded, dict):
        raise ValueError(f"{path}: expected an object of task ids or one task, not a {type(loaded).__name__}")
    if isinstance(loaded.get("train"), list):
        return [(str(path), path.stem, loaded)]
    return [(f"{path}: task {name}", name, item) for name, item in loaded.items()]


def _beside(path: pathlib.Path) -> pathlib.Path | None:
    named = path.with_name(path.name.replace("challenges", "solutions"))
    return named if named.name != path.name and named.is_file() else None


def _read(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_unique)
    except _RepeatedKeyError as error:
        raise ValueError(f"{path}: the key {error.args[0]!r:.40} is there more than once in one object") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8, at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: invalid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{path}: JSON nested too deeply to be ARC tasks") from None
    except ValueError:  # what is left: Python reads no integer of thousands of digits
        raise ValueError(f"{path}: a number of more digits than any grid has") from None


class _RepeatedKeyError(Exception):
    """A key that a JSON object has more than once."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedKeyError(repeated(key for key, _ in pairs)[0])
    return found
