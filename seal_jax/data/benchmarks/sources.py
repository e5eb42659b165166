"""Where the rows of a benchmark come from: files, folders of them, or a dataset of the Hugging Face hub."""

from __future__ import annotations

import gzip
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from seal_jax.data import json_fields
from seal_jax.data.benchmarks.hub import reached
from seal_jax.data.json_fields import Row
from seal_jax.data.problems import Problem

Source: TypeAlias = "str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]]"
"""A file, a folder, `{split: file or folder}`, or a dataset's name, with `:CONFIG` for another than the usual one."""

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json")
"""Files that are read; of a folder those of the first kind that it has."""

_SPLIT = re.compile(r"(?<![a-z])(train|test|validation|valid|val|dev|prompt)(?![a-z])")
_NAMES = {"valid": "validation", "val": "validation", "dev": "validation"}
_HINT = "give a dataset's name, a file (.jsonl, .json, .parquet), a folder with train and test files, or {split: file}"


def read_splits(source: Source, configs: tuple[str, ...] = (), folders: bool = False) -> dict[str, list[Row]]:
    """The rows of each split ("train", "validation", "test", ...) with where each is.

    A file's split is in its name or in a folder's below `source` ("ARC-Easy-Train.jsonl", "test/algebra/1.json"); one
    without is "test". configs: those of a hub's dataset, all of which are read; of a folder whose paths have them,
    the others are left out. folders: on the hub, too, they are folders with files. Files may be those of a hub
    snapshot or of `save_to_disk`.

    Raises FileNotFoundError for a path that does not exist, and ValueError for a folder without such files, for what
    cannot be read, saying where, and for a dataset that cannot be loaded.
    """
    if isinstance(source, Mapping):
        found = {split: read_splits(path, configs, folders) for split, path in source.items()}
        return {split: [row for rows in parts.values() for row in rows] for split, parts in found.items()}
    path = pathlib.Path(source).expanduser()
    if path.is_file():
        return {split_of(path.name): _rows(path)}
    if path.is_dir():
        return _folder(path, configs)
    if isinstance(source, os.PathLike) or source[:1] in "./~" or source.endswith(SUFFIXES):
        raise FileNotFoundError(f"{source}: no such file or folder; {_HINT}")
    name, _, config = source.partition(":")
    return _hub(name, (config,) if config else configs, folders and not config)


def split_of(path: str) -> str:
    """The split that a file's path names, "test" if none."""
    found = _SPLIT.search(path.lower())
    return _NAMES.get(str(found[1]), str(found[1])) if found else "test"


def problems(
    splits: Mapping[str, Iterable[Row]], read: Callable[[Any, str, str], Problem], source: Source
) -> dict[str, list[Problem]]:
    """Each row as `read(row, where, "SPLIT/NUMBER")`. ValueError without rows, and for an id twice in a split."""
    found = {split: [read(row, where, f"{split}/{n}") for n, (where, row) in enumerate(rows)]
             for split, rows in splits.items()}  # fmt: skip
    if not any(found.values()):
        raise ValueError(f"{source}: no rows; {_HINT}")
    for split, members in found.items():
        seen: set[str] = set()
        for problem in members:
            if problem.id in seen:
                raise ValueError(f"{source}: the id {problem.id!r} is there twice in {split}; is a file read twice?")
            seen.add(problem.id)
    return found


def _folder(folder: pathlib.Path, configs: tuple[str, ...]) -> dict[str, list[Row]]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        from datasets import load_from_disk

        return _datasets(load_from_disk(str(folder)), str(folder))
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and _kind(p))
    kinds = [suffix for suffix in SUFFIXES if any(_kind(p) == suffix for p in paths)]
    if not kinds:
        raise ValueError(f"{folder}: no {', '.join(SUFFIXES)} in this folder; {_HINT}")
    paths = [p for p in paths if _kind(p) == kinds[0]]
    named = [p for p in paths if _of_config(p.relative_to(folder), configs)]
    splits: dict[str, list[Row]] = {}
    for path in sorted(named or paths, key=_natural):
        splits.setdefault(split_of(path.relative_to(folder).as_posix()), []).extend(_rows(path))
    return splits


def _natural(path: pathlib.Path) -> list[tuple[int, str]]:
    """Files in order of the numbers in their names: 2.json before 10.json."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.as_posix())]


def _kind(path: pathlib.Path) -> str:
    return next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")


def _of_config(path: pathlib.Path, configs: tuple[str, ...]) -> bool:
    return any(part.lower().startswith(config.lower()) for part in path.parts for config in configs)


def _rows(path: pathlib.Path) -> list[Row]:
    """The rows of a file; a JSON object that is no list is one row, as in MATH's own release."""
    kind = _kind(path)
    if kind == ".parquet":
        return _parquet(path)
    if kind == ".jsonl.gz":
        return _compressed(path)
    if kind == ".jsonl":
        return json_fields.rows(path, "problems")
    if kind != ".json":
        raise ValueError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    loaded = json_fields.parse(json_fields.read_text(path), path)
    if isinstance(loaded, dict) and not isinstance(loaded.get("data"), list):
        return [(str(path), loaded)]
    return json_fields.rows_of(loaded, path, "problems")


def _compressed(path: pathlib.Path) -> list[Row]:
    try:
        text = gzip.decompress(path.read_bytes()).decode()
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: not gzip-compressed UTF-8 text: {error}") from None
    if text.lstrip().startswith("["):  # as the red-team attempts were first released
        return json_fields.rows_of(json_fields.parse(text, path), path, "problems")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [(f"{path}: line {number}", json_fields.parse(line, path, number)) for number, line in lines]


def _parquet(path: pathlib.Path) -> list[Row]:
    import pyarrow.parquet  # comes with datasets
    from pyarrow import ArrowException

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a Parquet file that can be read: {error}") from None
    return [(f"{path}: row {number}", row) for number, row in enumerate(rows)]


def _hub(name: str, configs: tuple[str, ...], folders: bool) -> dict[str, list[Row]]:
    from datasets import load_dataset

    splits: dict[str, list[Row]] = {}
    with reached() as silent:
        for config in configs or (None,):
            try:
                loaded = load_dataset(name, data_dir=config) if folders else load_dataset(name, config)
            except Exception as error:  # of many kinds: no such dataset, no network, no access, a script
                reason = str(error).strip().split("\n")[0] + (f", {silent}" if silent else "")
                raise ValueError(
                    f"{name!r} is no file or folder here and no dataset that loads: {reason}; {_HINT}"
                ) from error
            where = f"{name} ({config})" if config else name
            for split, rows in _datasets(loaded, where).items():
                splits.setdefault(split, []).extend(rows)
    return splits


def _datasets(loaded: Any, where: str) -> dict[str, list[Row]]:
    """The rows of a `DatasetDict`, or of a `Dataset`, which is the test split."""
    parts = loaded if isinstance(loaded, Mapping) else {"test": loaded}
    return {str(split): [(f"{where}, split {split}, row {n}", dict(row)) for n, row in enumerate(rows)]
            for split, rows in parts.items()}  # fmt: skip
