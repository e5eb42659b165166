"""ARC's science questions (AI2), easy and challenge: multiple choice; not the grids, which are `data.arc`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seal_jax.data.benchmarks.sources import Source, problems, read_splits
from seal_jax.data.json_fields import get, text
from seal_jax.data.problems import Problem

SOURCE = "allenai/ai2_arc"
LETTERS = "ABCDEFGHIJ"


def load(source: Source = SOURCE, config: str = "ARC-Easy") -> dict[str, list[Problem]]:
    """Problems by split of "ARC-Easy" or "ARC-Challenge".

    prompt: the question and a line "A. text" for each option; answer: the letter by the option's place, also where the
    release labels them 1 to 4. meta: `options`, the letters there are; `key`, the label as released. Takes the rows of
    the hub and those of the release (`question.stem`). Raises as `read_splits`, and ValueError that says where for a
    row without options or with an answer that is none of them.
    """
    return problems(read_splits(source, (config,)), _problem, source)


def _problem(row: Any, where: str, name: str) -> Problem:
    stem, texts, labels = (
        _released(row, where) if isinstance(get(row, "question", object, where), dict) else _hub(row, where)
    )
    key = text(row, "answerKey", where)
    if not stem.strip() or not texts or len(texts) != len(labels):
        raise ValueError(
            f"{where}: expected a question and as many options as labels, got {len(texts)} and {len(labels)}"
        )
    letter = letter_of(key, labels, where)
    lines = "\n".join(f"{mark}. {option}" for mark, option in zip(LETTERS, texts))
    question = f"{stem.strip()}\n{lines}"
    meta = {"question": question, "options": LETTERS[: len(labels)], "key": key}
    released = row.get("id")
    return Problem(f"arc/{released or name}", question, letter, f"The answer is {letter}.", meta)


def _hub(row: Any, where: str) -> tuple[str, list[str], list[str]]:
    choices = get(row, "choices", dict, where)
    return text(row, "question", where), get(choices, "text", list, where), get(choices, "label", list, where)


def _released(row: Any, where: str) -> tuple[str, list[str], list[str]]:
    question = row["question"]
    choices = get(question, "choices", list, where)
    texts, labels = ([text(choice, key, where) for choice in choices] for key in ("text", "label"))
    return text(question, "stem", where), texts, labels


def letter_of(label: str, labels: Sequence[str], where: str = "question") -> str:
    """The letter of an option by its place: of labels "1" to "4", "3" is "C". ValueError starting with `where`."""
    if len(labels) > len(LETTERS):
        raise ValueError(f"{where}: {len(labels)} options; there are letters for {len(LETTERS)}")
    if label not in labels:
        raise ValueError(f"{where}: the answer {label!r} is none of the options {', '.join(map(str, labels))}")
    return LETTERS[list(labels).index(label)]
