"""GSM8K: grade-school word problems; rows `{"question", "answer"}`, the answer's last line "#### 18"."""

from __future__ import annotations

import re
from typing import Any

from seal_jax.data.benchmarks.sources import Source, problems, read_splits
from seal_jax.data.json_fields import text
from seal_jax.data.problems import Problem

SOURCE, CONFIGS = "openai/gsm8k", ("main",)

_CALCULATOR = re.compile(r"<<[^<>]*>>")


def load(source: Source = SOURCE) -> dict[str, list[Problem]]:
    """Problems by split. prompt: the question; answer: the number as it is written ("1,080"); solution: the steps
    without the calculator's annotations, ending in "The answer is 1,080."

    Raises as `read_splits`, and ValueError that says where for a row without question or "####" and a number.
    """
    return problems(read_splits(source, CONFIGS), _problem, source)


def _problem(row: Any, where: str, name: str) -> Problem:
    question, worked = text(row, "question", where).strip(), text(row, "answer", where)
    steps, mark, answer = (part.strip() for part in worked.rpartition("####"))
    if not question:
        raise ValueError(f"{where}: the question is empty")
    if not mark or not re.search(r"\d", answer):
        raise ValueError(f"{where}: 'answer' should end in '#### NUMBER', not {worked[-60:]!r}")
    solution = f"{_CALCULATOR.sub('', steps)}\nThe answer is {answer}."
    return Problem(f"gsm8k/{name}", question, answer, solution.strip(), {"question": question})
