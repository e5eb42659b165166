"""Passages with questions: SQuAD grouped by passage, or in its official nesting."""

from __future__ import annotations

import json
import logging
import pathlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

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
    title, context = _text(item, "title", where), _text(item, "context", where)
    if not context.strip():
        raise ValueError(f"{where}: the context is empty; a passage has text")
    questions = _get(item, "questions", list, where)
    return Passage(title, context, tuple(_question(q, f"{where}, question {i}") for i, q in enumerate(questions)))


def read_items(path: str | pathlib.Path) -> list[Any]:
    """The raw items of a JSON list or a `.jsonl` file; the same errors as `load_squad`, but no key is looked at."""
    return [item for _, item in _grouped(pathlib.Path(path))]


def _items(path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    for where, item in _grouped(path):
        if isinstance(item, dict) and "paragraphs" in item:
            yield from _official(item, where)
        else:
            yield where, item


def _grouped(path: pathlib.Path) -> list[tuple[str, Any]]:
    text = _decode(path)
    if path.suffix == ".jsonl":
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        return [(f"{path}: line {number}", _parse(line, path, number)) for number, line in lines]
    loaded = _parse(text, path)
    loaded = loaded["data"] if isinstance(loaded, dict) and "data" in loaded else loaded
    if not isinstance(loaded, list):
        raise ValueError(f'{path}: expected a list of passages or {{"data": [...]}}, not a {type(loaded).__name__}')
    return [(f"{path}: item {index}", item) for index, item in enumerate(loaded)]


def _decode(path: pathlib.Path) -> str:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise ValueError(f"{path}: not UTF-8, byte 0x{byte:02x} at offset {error.start} on line {line}") from None
    if not text.strip():
        raise ValueError(f"{path}: the file is empty; expected a JSON list of passages")
    return text


def _parse(text: str, path: pathlib.Path, line: int = 0) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {line or error.lineno}, column {error.colno}"
        raise ValueError(f"{path}: invalid JSON at {where}: {error.msg}") from None


def _official(article: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """The paragraphs of an article as grouped items."""
    title = _text(article, "title", where).replace("_", " ")
    for index, paragraph in enumerate(_get(article, "paragraphs", list, where)):
        here = f"{where}, paragraph {index}"
        questions = []
        for number, qa in enumerate(_get(paragraph, "qas", list, here)):
            answers = _get(qa, "answers", list, f"{here}, question {number}")
            if answers:
                gold = _text(answers[0], "text", f"{here}, question {number}, answer 0")
                questions.append({"question": qa.get("question"), "answer": gold})
        yield here, {"title": title, "context": _text(paragraph, "context", here), "questions": questions}


def _question(item: Any, where: str) -> Question:
    asked = Question(_text(item, "question", where), _text(item, "answer", where))
    if not asked.answer.strip():
        raise ValueError(f"{where}: the answer is empty; nothing could be graded against it")
    return asked


def _text(item: Any, key: str, where: str) -> str:
    return _get(item, key, str, where)


def _get(item: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(item, dict):
        raise ValueError(f"{where}: expected an object with the key {key!r}, not a {type(item).__name__}")
    if key not in item:
        raise ValueError(f"{where}: missing key {key!r} (found: {', '.join(item) or 'no keys'})")
    if not isinstance(item[key], kind):
        raise ValueError(f"{where}: {key!r} should be a {kind.__name__}, not {item[key]!r:.60}")
    return item[key]
