"""Results of the ARC experiment: for each edit whether each task was solved."""

from __future__ import annotations

from typing import Any

from seal_jax.data import json_fields
from seal_jax.seal.recorded.files import Recorded
from seal_jax.seal.recorded.results import as_verdict


def overall(found: Recorded) -> dict[str, Any]:
    """`accuracy`, `solved` and `attempts` over all edits and tasks, and `edits`, `tasks`, `tasks_solved` (by any edit).

    The file is `{edit: {"task_id": {row: id}, "correct": {row: bool}}}`; a row without a verdict, or with null, does
    not count. ValueError that says where for anything else, and if no task was attempted.
    """
    verdicts: list[tuple[str, bool]] = []
    tasks: set[str] = set()
    for edit, item in found.value.items():
        where = f"{found.path}: edit {edit!r:.40}"
        ids, correct = (json_fields.get(item, key, dict, where) for key in ("task_id", "correct"))
        if unknown := sorted(correct.keys() - ids.keys()):
            raise ValueError(f"{where}: 'correct' has the row {unknown[0]!r:.40}, which 'task_id' has not")
        for row, value in correct.items():
            name = json_fields.text(ids, row, f"{where}, 'task_id'")
            solved = as_verdict(value, f"{where}: 'correct' {row!r:.40}")
            tasks.add(name)
            verdicts += [] if solved is None else [(name, solved)]
    if not verdicts:
        raise ValueError(f"{found.path}: no task has a verdict; there is nothing to aggregate")
    solved = sum(correct for _, correct in verdicts)
    return {
        "accuracy": round(solved / len(verdicts), 4),
        "solved": solved,
        "attempts": len(verdicts),
        "edits": len(found.value),
        "tasks": len(tasks),
        "tasks_solved": len({name for name, correct in verdicts if correct}),
    }
