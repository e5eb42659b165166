r"""MATH: competition problems; rows `{"problem", "solution"}`, the answer boxed in the solution or under "answer"."""

from __future__ import annotations

from typing import Any

from seal_jax.data.benchmarks.sources import Source, problems, read_splits
from seal_jax.data.boxed import last_boxed
from seal_jax.data.json_fields import text
from seal_jax.data.problems import Problem

SOURCE = "EleutherAI/hendrycks_math"
CONFIGS = (
    "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra",
    "precalculus",
)  # fmt: skip


def load(source: Source = SOURCE) -> dict[str, list[Problem]]:
    """Problems by split. prompt: the problem; answer: LaTeX; solution: the worked one, with the boxed answer.

    meta: `level` and `subject` where the row has them. Takes the release (`train/algebra/1.json`), hub copies of it
    and MATH-500. Raises as `read_splits`, and ValueError that says where for a row without a problem or an answer.
    """
    return problems(read_splits(source, CONFIGS), _problem, source)


def _problem(row: Any, where: str, name: str) -> Problem:
    question = text(row, "problem", where).strip()
    given = isinstance(row.get("answer"), str)
    solution = text(row, "solution", where) if not given or "solution" in row else None
    answer = row["answer"] if given else last_boxed(solution or "")
    if not question:
        raise ValueError(f"{where}: the problem is empty")
    if not answer or not answer.strip():
        raise ValueError(f"{where}: no answer: neither 'answer' nor \\boxed{{...}} in 'solution' has one")
    labels = {"level": row.get("level"), "subject": row.get("type", row.get("subject"))}
    labels = {key: value for key, value in labels.items() if value is not None}
    return Problem(f"math/{name}", question, answer.strip(), solution, {"question": question, **labels})
