"""What a person sees of a run: a progress bar with an ETA on a terminal, next to nothing in a pipe, a table at the end.

Progress goes to standard error, results to standard output, so that a pipe carries results only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from seal_jax.runtime.files import dumps


class Advance(Protocol):
    """What `progress` yields: call it as work gets done."""

    def __call__(self, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` is shown beside the bar ("loss 1.23")."""
        ...


@contextmanager
def progress(name: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show the progress of one stage of `total` units, of which a resumed run has `done` already.

    On a terminal a bar with elapsed time and ETA, on standard error. Otherwise one line when the stage has ended, or
    nothing if there was nothing to do.
    """
    if sys.stderr.isatty():
        with _bar(name, total, done) as advance:
            yield advance
        return
    new, started = 0, time.perf_counter()

    def count_only(count: int = 1, note: str = "") -> None:
        nonlocal new
        new += count

    yield count_only
    if new:
        resumed = f" ({done} were done before)" if done else ""
        print(f"{name}: {new}{resumed} in {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def _bar(name: str, total: int, done: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # Stages are few and long steps, the first of them compilation: the ETA looks back over all of it.
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=3600) as bars:
        task = bars.add_task(name, total=total, completed=done, note="")

        def advance(count: int = 1, note: str = "") -> None:
            fields: dict[str, Any] = {"note": note} if note else {}
            bars.update(task, advance=count, **fields)

        yield advance


def table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    """Print rows (dicts, columns in the order of first appearance) as a table on standard output.

    Floats are shown with 4 digits, None and absent cells as "-". In a pipe the table is plain and is never cut.
    """
    from rich.console import Console
    from rich.table import Table

    names = list(dict.fromkeys(name for row in rows for name in row))
    grid = Table(title=title, title_justify="left")
    for name in names:
        numeric = all(isinstance(row.get(name), (int, float, type(None))) for row in rows)
        grid.add_column(str(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(_cell(row.get(name)) for name in names))
    console = Console(file=sys.stdout, markup=False, width=None if sys.stdout.isatty() else 240)
    console.print(grid)


def print_json(result: Mapping[str, Any]) -> None:
    """Print a result as one line of strict JSON on standard output."""
    print(dumps(result), flush=True)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}"
    return str(value)
