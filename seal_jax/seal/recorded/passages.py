"""The reference's choice of passages from a file, with everything that the file says about them."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

from seal_jax.data import json_fields, squad
from seal_jax.seal.recorded.files import need, read


class Subset(NamedTuple):
    """items: the chosen items as they are in the file; questions: how many they have; notes: what was odd."""

    items: list[dict[str, Any]]
    questions: int
    notes: list[str]


def subset(path: str | pathlib.Path, n: int = 0, seed: int = 42, start: int = 0) -> Subset:
    """`data.subset` of the items of a file of passages or of completions: shuffled by seed, then `n` from `start`.

    Paragraphs of an official SQuAD file are items like those of a grouped one. n <= 0 is all to the end. Raises
    ValueError that says where for an item without title, context and questions, and for a start beyond the end.
    """
    found = read(path)
    need(found, "seal subset", "passages", "generated")
    listed = squad.read_items(path)
    for number, item in enumerate(listed):
        _check(item, f"{path}: item {number}")
    items = squad.subset(listed, n, seed, start)
    fewer = [f"{path} has {len(items)} items from {start}, fewer than the {n} asked for"] if n > len(items) else []
    return Subset(items, sum(len(item["questions"]) for item in items), fewer)


def _check(item: Any, where: str) -> None:
    for key in ("title", "context"):
        json_fields.text(item, key, where)
    for number, question in enumerate(json_fields.get(item, "questions", list, where)):
        for key in ("question", "answer"):
            json_fields.text(question, key, f"{where}, question {number}")
