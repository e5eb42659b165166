"""Passages with questions: SQuAD grouped by passage, or in its official nesting."""

from __future__ import annotations

import logging
import pathlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from seal_jax.data.json_fields import get, rows, text

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Question:
    """A question and its one gold answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Passage:
    """A passage, the title it is known under, and the questions that test what it says."""

    title: str
    context: str
    questions: tuple[Question, ...]


def load_squad(path: str | pathlib.Path, need_questions: bool = True) -> list[Passage]:
    """The passages of a file that have questions, in file order; without `need_questions` all of its passages.

    Takes a JSON list of `{"title", "context", "questions": [{"question", "answer"}]}`, the same one item a line
    (`.jsonl`), and official SQuAD v1.1 / v2 (`{"data": [...]}`; the first gold answer counts, questions without one
    are left out, `_` in a title is a space). Further keys (completions, prompt) are allowed. A passage with an empty
    list of questions cannot be scored: it is left out and their number is logged as a warning. Without
    `need_questions` it is kept, and the key may be missing.

    Raises ValueError that says where: an empty file, a byte that is not UTF-8, invalid JSON, a missing key or a value
    of the wrong type; or if no passage has a question that needs one.
    """
    items = _items(pathlib.Path(path))
    if not need_questions:
        items = ((at, {"questions": [], **item} if isinstance(item, dict) else item) for at, item in items)
    passages = [passage_of(item, where) for where, item in items]
    asked = [passage for passage in passages if passage.questions or not need_questions]
    if not asked:
        raise ValueError(f"{path}: none of the {len(passages)} passages has a question with an answer")
    if len(asked) < len(passages):
        logger.warning(
            "%s: %d of %d passages have no questions and are left out", path, len(passages) - len(asked), len(passages)
        )
    return asked


def subset(items: Sequence[Item], n: int, seed: int = 42, start: int = 0) -> list[Item]:
    """`n` items from `start` of the whole list in shuffled order; `n <= 0` means all from there.

    The order is that of the reference: Python's `random`, seeded, shuffling the list once. Fewer come back where the
    list ends; ValueError if it ends before `start`.
    """
    if not 0 <= start < max(len(items), 1):
        raise ValueError(f"start={start} is outside the {len(items)} items there are")
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)
    return shuffled[start : start + n] if n > 0 else shuffled[start:]


def passage_of(item: Any, where: str = "item") -> Passage:
    """The passage of one grouped item; ValueError starting with `where` for a missing key or a wrong type."""
    title, context = text(item, "title", where), text(item, "context", where)
    if not context.strip():
        raise ValueError(f"{where}: the context is empty; a passage has text")
    questions = get(item, "questions", list, where)
    return Passage(title, context, tuple(_question(q, f"{where}, question {i}") for i, q in enumerate(questions)))


def read_items(path: str | pathlib.Path) -> list[Any]:
    """The raw items of any file that `load_squad` takes, with all their keys; no key of a grouped item is looked at.

    The paragraphs of an official file come as grouped items. The same errors as `load_squad` for what cannot be read.
    """
    return [item for _, item in _items(pathlib.Path(path))]


def _items(path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    for where, item in rows(path, "passages"):
        if isinstance(item, dict) and "paragraphs" in item:
            yield from _official(item, where)
        else:
            yield where, item


def _official(article: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """The paragraphs of an article as grouped items."""
    title = text(article, "title", where).replace("_", " ")
    for index, paragraph in enumerate(get(article, "paragraphs", list, where)):
        here = f"{where}, paragraph {index}"
        questions = []
        for number, qa in enumerate(get(paragraph, "qas", list, here)):
            answers = get(qa, "answers", list, f"{here}, question {number}")
            if answers:
                gold = text(answers[0], "text", f"{here}, question {number}, answer 0")
                questions.append({"question": qa.get("question"), "answer": gold})
        yield here, {"title": title, "context": text(paragraph, "context", here), "questions": questions}


def _question(item: Any, where: str) -> Question:
    asked = Question(text(item, "question", where), text(item, "answer", where))
    if not asked.answer.strip():
        raise ValueError(f"{where}: the answer is empty; nothing could be graded against it")
    return asked
