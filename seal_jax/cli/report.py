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


def finished(run: Run, result: Mapping[str, Any], over: str = "passages") -> Report:
    """Close a run that compares conditions: result.json, accuracy.png, and the table of accuracies.

    Where no condition has an accuracy, because nothing could be graded, there is no figure.
    over: what standard errors are taken over. result: as `plots.accuracy_per_round` takes it, with an optional
    log-likelihood of the gold answers each.
    """
    from seal_jax.runtime import plots

    known = plots.conditions(result)
    scored = [name for name, entry in result.items() if isinstance(entry, Mapping) and "accuracy" in entry]
    rows = []
    for name in (*known, *(n for n in scored if n not in known)):
        entry = result[name]
        columns = {"accuracy": "accuracy", "± stderr": "stderr", "gold loglik": "loglik", "±": "loglik_stderr"}
        rows.append({"condition": name, **{title: entry[key] for title, key in columns.items() if key in entry}})
    if known:
        plots.accuracy_per_round(run.dir / "accuracy.png", result, f"SEAL: accuracy on held-out {over}")
    written = [run.dir / "result.json", *([run.dir / "accuracy.png"] if known else [])]
    notes = [f"written: {', '.join(map(str, written))}"]
    notes += ungraded(sum(entry.get("ungraded", 0) for entry in result.values() if isinstance(entry, Mapping)))
    return Report(run.finish(result), rows, f"Accuracy by condition, ± one standard error over {over}", notes)


def ungraded(count: int) -> list[str]:
    """The note on answers without a verdict, if there are any."""
    return [f"{count} answers could not be graded and count neither as right nor as wrong"] if count else []


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
