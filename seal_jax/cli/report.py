"""What a command returns, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Report(NamedTuple):
    """result: what `--json` prints, for a run also its result.json; rows: the final table; notes: lines below it."""

    result: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] = ()
    title: str | None = None
    notes: Sequence[str] = ()


def show(report: Report, as_json: bool) -> None:
    """Print a report on standard output: one line of strict JSON and nothing else, or a table and its notes."""
    from seal_jax.runtime import logging

    if as_json:
        logging.print_json(report.result)
        return
    if report.rows:
        logging.table(report.rows, report.title)
    for note in report.notes:
        print(note)
