"""TruthfulQA: questions that people often answer falsely, with true and false answers."""

from __future__ import annotations

from typing import Any

from seal_jax.data.alignment.rows import first_text, read, texts
from seal_jax.data.benchmarks.sources import Source, problems
from seal_jax.data.json_fields import get
from seal_jax.data.problems import Problem

SOURCE, CONFIGS = "truthfulqa/truthful_qa", ("generation",)
_RELEASED = {
    "Question": "question",
    "Best Answer": "best_answer",
    "Correct Answers": "correct_answers",
    "Incorrect Answers": "incorrect_answers",
    "Category": "category",
    "Type": "type",
}


def load(source: Source = SOURCE) -> dict[str, list[Problem]]:
    """Problems by split. prompt: the question; answer: the true answers, tuple of str; solution: the best of them.

    meta: `false`, the false answers; `category` and `type`, "" where there is none. Takes the hub's rows and the table
    of the release. Raises as `alignment.rows.read`, and ValueError that says where for a row without a question, or
    without true or false answers.
    """
    return problems(read(source, CONFIGS), _problem, source)


def _problem(row: Any, where: str, name: str) -> Problem:
    row = {_RELEASED.get(key, key): value for key, value in row.items()} if isinstance(row, dict) else row
    question = first_text(row, ("question",), where) if isinstance(row, dict) else get(row, "question", str, where)
    true, false = (texts(get(row, key, object, where), key, where) for key in ("correct_answers", "incorrect_answers"))
    if not true or not false:
        raise ValueError(f"{where}: expected true and false answers, got {len(true)} and {len(false)}")
    best = row.get("best_answer") or true[0]
    meta = {"false": false, "category": row.get("category") or "", "type": row.get("type") or ""}
    return Problem(f"truthful-qa/{name}", question, true, best, meta)
