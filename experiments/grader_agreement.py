"""String rules against the verdicts of a GPT-4.1 grader.

Claim     "at least 0.67 of the gold answer's tokens" (rule "recall") agrees with the recorded grader on 86 % of
          answers, and no other rule agrees better
Command   python -m experiments.grader_agreement RESULTS.json ...    (recorded results with verdicts)
Hardware  one CPU core, seconds
Expected  on two ranking files (implications, long) and two evaluations (base, naive), 18,176 answers: agreement
          0.861, kappa 0.689
Last run  2026-11-21, one core of an AMD EPYC: as expected; the table is in docs/grading.md
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import tyro

from seal_jax.evaluation import RULES, Case, agreement, rule_grader
from seal_jax.runtime import logging
from seal_jax.runtime.files import read_json, write_json


@dataclasses.dataclass(frozen=True)
class Settings:
    """Which recorded results are read, and where the table is written."""

    files: tyro.conf.Positional[tuple[pathlib.Path, ...]]
    """Results with per-question verdicts ("articles" of "completions" of "questions")."""
    out: pathlib.Path | None = None
    """A JSON file for the table."""


def recorded(path: pathlib.Path) -> list[tuple[Case, bool]]:
    """Each recorded answer, before and after the edit, with the recorded verdict."""
    articles = read_json(path)["articles"]
    asked = [(a["title"], q) for a in articles for c in a["completions"] for q in c["questions"]]
    return [
        (Case(f"Topic: {title}\n{q['question']}", q["answer"], q[f"{side}_answer"]), q[f"{side}_correct"])
        for title, q in asked
        for side in ("baseline", "adapter")
    ]


def main(settings: Settings) -> list[dict[str, Any]]:
    """One row for each rule, over all files."""
    cases, truth = zip(*(pair for path in settings.files for pair in recorded(path)))
    rows = [{"rule": rule, **agreement(rule_grader(rule)(cases), truth)} for rule in RULES]
    logging.table(rows, f"Rules against recorded verdicts, {len(truth)} answers")
    if settings.out:
        write_json(settings.out, rows)
    return rows


if __name__ == "__main__":
    main(tyro.cli(Settings))
