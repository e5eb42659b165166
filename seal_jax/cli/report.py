"""What a command returns, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from seal_jax.runtime import Run


class Report(NamedTuple):
    """result: what `--json` prints, for a run also its result.json; rows: the final table; notes: lines below it."""

    result: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] = ()
    title: str | None = None
    notes: Sequence[str] = ()


def finished(run: Run, result: Mapping[str, Any]) -> Report:
    """Close a run that compares conditions: result.json, accuracy.png, and the table of accuracies.

    result: as `plots.accuracy_per_round` takes it, with an optional log-likelihood of the gold answers each.
    """
    from seal_jax.runtime import plots

    rows = []
    for name in plots.conditions(result):
        entry = result[name]
        columns = {"accuracy": "accuracy", "± stderr": "stderr", "gold loglik": "loglik", "±": "loglik_stderr"}
        rows.append({"condition": name, **{title: entry[key] for title, key in columns.items() if key in entry}})
    plots.accuracy_per_round(run.dir / "accuracy.png", result)
    notes = [f"{run.dir / 'result.json'} and {run.dir / 'accuracy.png'} are written"]
    return Report(run.finish(result), rows, "Accuracy by condition, ± one standard error over passages", notes)


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
