"""A task: problems in three splits, and how a completion is graded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from seal_jax.data.problems import Problem


class Task(NamedTuple):
    """What an expert is trained for, or what a dispatch is tried on.

    train, validation, test: problems; a task that is only tested has an empty train split. grade: `(problem,
    completion) -> True, False, or None` for a completion that could not be graded, which counts in no mean.
    max_new_tokens: the longest completion. stop: strings that end one; they are not part of it.
    """

    name: str
    train: Sequence[Problem]
    validation: Sequence[Problem]
    test: Sequence[Problem]
    grade: Callable[[Problem, str], bool | None]
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()


def prompt_ids(problem: Problem, tokenizer: Any) -> list[int]:
    """The token ids that a model is given for a problem: int list `[T]`.

    Plain text is tokenised with the tokenizer's special tokens (one beginning-of-text at most); messages go through
    its chat template, which ends where the answer begins. Raises ValueError naming the problem if there is no
    template, or nothing is left to condition on.
    """
    if isinstance(problem.prompt, str):
        ids = tokenizer(problem.prompt)["input_ids"]
    elif getattr(tokenizer, "chat_template", None) is None:
        raise ValueError(f"problem {problem.id!r} has chat messages, and the tokenizer has no chat template")
    else:
        messages = [dict(turn) for turn in problem.prompt]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    if not ids:
        raise ValueError(f"problem {problem.id!r} has an empty prompt")
    return list(ids)
