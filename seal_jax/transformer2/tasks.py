"""A task: problems in three splits, and how a completion is graded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from seal_jax.data.problems import Problem


class Task(NamedTuple):
    """What an expert is trained for, or what a dispatch is tried on.

    train, validation, test: problems; a task that is only tested has an empty train split. grade: `(problem,
    completion) -> True, False, or None` for a completion that could not be graded, which counts in no mean; it may have
    a method `many` (`grade_all`).
    max_new_tokens: the longest completion. stop: strings that end one; they are not part of it.
    """

    name: str
    train: Sequence[Problem]
    validation: Sequence[Problem]
    test: Sequence[Problem]
    grade: Callable[[Problem, str], bool | None]
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()


def grade_all(grade: Callable[[Problem, str], bool | None], pairs: Sequence[tuple[Problem, str]]) -> list[bool | None]:
    """The verdicts on several completions; a grader with a method `many` takes them at once, as programs are run."""
    many = getattr(grade, "many", None)
    return many(pairs) if many else [grade(problem, completion) for problem, completion in pairs]
