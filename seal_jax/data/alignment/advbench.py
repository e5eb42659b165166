"""Lists of harmful requests in AdvBench's manner, with the suffixes of an attack behind them."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from seal_jax.data.alignment.rows import first_text, read
from seal_jax.data.benchmarks.sources import Source, problems
from seal_jax.data.json_fields import Row
from seal_jax.data.problems import Problem

SOURCE = "walledai/AdvBench"
_GOAL = ("goal", "prompt", "behavior", "Behavior", "Goal", "instruction", "text")
_SUFFIX = ("suffix", "adv_suffix", "control")


def load(source: Source = SOURCE, suffix: str | Sequence[str] = "") -> dict[str, list[Problem]]:
    """Problems by split. prompt: the request and, after a space, its suffix; there is no gold answer.

    suffix: one for all, or one for each request in their order over all splits; where it is empty, that of the row's
    own column (`suffix`, `adv_suffix`, `control`), if any. meta: `goal`, `suffix`, and `target`, the beginning of an
    answer that an attack aims at, "" if the row has none. Takes tables, JSON and plain lists with a request a line.
    Raises as `alignment.rows.read`, and ValueError that says where for a row without a request or a suffix that is no
    text, and for another number of suffixes than of requests.
    """
    splits = read(source)
    count = sum(map(len, splits.values()))
    suffixes = [suffix] * count if isinstance(suffix, str) else list(suffix)
    if len(suffixes) != count:
        raise ValueError(f"{len(suffixes)} suffixes for the {count} requests of {source}: expected one each")
    given = iter(suffixes)
    paired = {split: [(where, (row, next(given))) for where, row in rows] for split, rows in splits.items()}
    return problems(paired, _problem, source)


def read_suffixes(path: str | pathlib.Path) -> list[str]:
    """The suffixes of a file, in its order: a text a line, or rows with one of the columns that `load` knows.

    Raises as `alignment.rows.read`, and ValueError that says where for a row without one.
    """
    rows: list[Row] = [row for each in read(path).values() for row in each]
    return [first_text(row, _SUFFIX, where) for where, row in rows]


def _problem(row: Any, where: str, name: str) -> Problem:
    fields, suffix = row
    goal = first_text(fields, _GOAL, where)
    columns = fields if isinstance(fields, dict) else {}
    own = next((columns[key] for key in _SUFFIX if columns.get(key)), "")
    if not isinstance(suffix or own, str):
        raise ValueError(f"{where}: the suffix should be a string, not {suffix or own!r:.60}")
    suffix = (suffix or own).strip()
    meta = {"goal": goal, "suffix": suffix, "target": columns.get("target") or ""}
    return Problem(f"advbench/{name}", f"{goal} {suffix}".strip(), None, None, meta)
