"""MBPP: short Python programs with assertions that test them; the full, the sanitized and the evalplus releases."""

from __future__ import annotations

from typing import Any

from seal_jax.data.benchmarks.sources import Source, problems, read_splits
from seal_jax.data.json_fields import get, text
from seal_jax.data.problems import Problem

SOURCE, CONFIGS = "evalplus/mbppplus", ("sanitized",)


def load(source: Source = SOURCE) -> dict[str, list[Problem]]:
    """Problems by split. prompt: the task in words; answer: the assertions, tuple of str; solution: a right program.

    meta: `tests`, the same; `setup`, code that they need before them. Takes `text` or `prompt` for the task,
    `test_list` or evalplus' `assertion` for the tests (those of MBPP, not its additional ones), `code` or
    `canonical_solution`. Raises as `read_splits`, and ValueError that says where for a row without task or tests.
    """
    configs = () if source == SOURCE else CONFIGS
    return problems(read_splits(source, configs), _problem, source)


def _problem(row: Any, where: str, name: str) -> Problem:
    task = _task(text(row, "text" if isinstance(row, dict) and "text" in row else "prompt", where))
    tests = _tests(row, where)
    if not task or not tests:
        raise ValueError(f"{where}: the {'tests are' if task else 'task is'} empty; a program could not be graded")
    solution = next((row[key] for key in ("code", "canonical_solution") if isinstance(row.get(key), str)), None)
    imports = row.get("test_imports") or []
    setup = row.get("test_setup_code") or "\n".join(imports)
    number = str(row.get("task_id", name)).removeprefix("Mbpp/")
    return Problem(f"mbpp/{number}", task, tests, solution, {"question": task, "tests": tests, "setup": setup})


def _task(prompt: str) -> str:
    """The words: evalplus writes them into a docstring together with an assertion."""
    lines = prompt.strip().strip('"').strip().split("\n")
    return "\n".join(line for line in lines if not line.startswith("assert ")).strip()


def _tests(row: Any, where: str) -> tuple[str, ...]:
    if "test_list" not in row and isinstance(row.get("assertion"), str):
        return tuple(part for part in [row["assertion"].strip()] if part)
    tests = get(row, "test_list", list, where)
    if not all(isinstance(test, str) for test in tests):
        raise ValueError(f"{where}: 'test_list' should be a list of assertions as strings")
    return tuple(test for test in tests if test.strip())
