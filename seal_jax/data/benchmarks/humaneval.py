"""HumanEval: the body of a Python function from its signature and docstring; rows as released."""

from __future__ import annotations

from typing import Any

from seal_jax.data.benchmarks.sources import Source, problems, read_splits
from seal_jax.data.json_fields import text
from seal_jax.data.problems import Problem

SOURCE = "openai/openai_humaneval"


def load(source: Source = SOURCE) -> dict[str, list[Problem]]:
    """Problems, all in the split "test". prompt: imports, signature and docstring; answer: source that defines `check`,
    which raises for a function that is wrong; solution: the body. meta: `entry_point`, the function's name.

    Raises as `read_splits`, and ValueError that says where for a row with a part that is missing or empty.
    """
    return problems(read_splits(source), _problem, source)


def _problem(row: Any, where: str, name: str) -> Problem:
    prompt, test, entry = (text(row, key, where) for key in ("prompt", "test", "entry_point"))
    if not entry.isidentifier() or f"def {entry}" not in prompt:
        raise ValueError(f"{where}: 'entry_point' should be a function that 'prompt' begins, not {entry!r}")
    if "def check" not in test:
        raise ValueError(f"{where}: 'test' should define check(candidate)")
    solution = row.get("canonical_solution")
    meta = {"question": prompt.strip(), "prompt": prompt, "entry_point": entry}
    return Problem(str(row.get("task_id") or f"humaneval/{name}"), prompt, test, solution, meta)
