"""What grades a completion of each benchmark: made from the rules by name, the same way for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from seal_jax.data.problems import Problem
from seal_jax.evaluation.choice_answers import chosen
from seal_jax.evaluation.code_answers import (
    code_of,
    function_under_test,
    humaneval_program,
    mbpp_program,
    names_in,
    sanitized,
)
from seal_jax.evaluation.code_execution import Limits, Program, run_programs
from seal_jax.evaluation.math_answers import math_correct, number_correct

Grade = Callable[[Problem, str], bool | None]


def number(rules: str, *_: Any) -> Grade:
    """The completion's last number is the answer's."""
    return lambda problem, completion: number_correct(completion, problem.answer, rules)


def mathematics(rules: str, *_: Any) -> Grade:
    """The completion's boxed answer equals the answer."""
    return lambda problem, completion: math_correct(completion, problem.answer, rules)


def choice(rules: str, *_: Any) -> Grade:
    """The completion chooses the answer's letter; the reference compares with the key as released, also with "3"."""

    def grade(problem: Problem, completion: str) -> bool:
        gold = problem.answer if rules == "fixed" else problem.meta["key"]
        return chosen(completion, problem.meta["options"], rules, problem.id) == gold

    return grade


@dataclass(frozen=True)
class Programs:
    """Grades programs by running them. `program`: what to run for a problem and a completion."""

    program: Callable[[Problem, str], Program]
    limits: Limits = field(default_factory=Limits)
    unguarded: Sequence[str] = ()

    def __call__(self, problem: Problem, completion: str) -> bool | None:
        """Whether the completion passes; None if it could not be run. Raises as `run_programs`."""
        return self.many([(problem, completion)])[0]

    def many(self, pairs: Sequence[tuple[Problem, str]]) -> list[bool | None]:
        """The verdicts of several, run side by side."""
        outcomes = run_programs([self.program(*pair) for pair in pairs], self.limits, unguarded=self.unguarded)
        return [None if outcome.status == "error" else outcome.status == "passed" for outcome in outcomes]


def assertions(rules: str, limits: Limits | None, unguarded: Sequence[str]) -> Programs:
    """The program that the completion begins with passes all assertions of the problem (MBPP)."""

    def program(problem: Problem, completion: str) -> Program:
        name, setup = function_under_test(problem.answer, problem.solution or ""), problem.meta["setup"]
        code = code_of(completion, True, rules)
        code = sanitized(code, name, names_in([setup, *problem.answer]), rules) if name else code
        return mbpp_program(code, problem.answer, setup, name)

    return Programs(program, limits or Limits(), unguarded)


def completed(rules: str, limits: Limits | None, unguarded: Sequence[str]) -> Programs:
    """The function that the completion writes, or completes, passes the problem's `check` (HumanEval)."""

    def program(problem: Problem, completion: str) -> Program:
        code, entry = code_of(completion, True, rules), problem.meta["entry_point"]
        whole = humaneval_program(problem.meta["prompt"], code, problem.answer, entry)
        return whole._replace(code=sanitized(whole.code, entry, rules=rules))

    return Programs(program, limits or Limits(), unguarded)
