"""Completions of passages, and the training sequences they become."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from seal_jax.data import json_fields
from seal_jax.seal.edits import training_sequences
from seal_jax.seal.recorded import meta
from seal_jax.seal.recorded.files import Recorded, need, read

SEPARATOR = "\x1e"  # between the sequences whose digest is compared


class Edited(NamedTuple):
    """A passage and the completions that were written about it; where: its place in the file, for messages."""

    where: str
    title: str
    context: str
    completions: list[str]


class Sequences(NamedTuple):
    """texts: training sequences in order; items: how many passages they are of; notes: what was odd in the file."""

    texts: list[str]
    items: int
    notes: list[str]

    def digest(self) -> str:
        """SHA-256 over the sequences joined with byte 0x1e, UTF-8, in hexadecimal."""
        return hashlib.sha256(SEPARATOR.join(self.texts).encode("utf-8", "surrogatepass")).hexdigest()


def read_completions(path: str | pathlib.Path) -> list[Edited]:
    """The passages of a file with their completions, in its order.

    Takes the generated data of the reference and of `seal edits` (JSON list or JSON Lines), and the results of a
    ranking or an evaluation, whose articles carry their completions. ValueError that says where for another file.
    """
    return edited_of(read(path))


def edited_of(found: Recorded) -> list[Edited]:
    """`read_completions` of a file that has been read."""
    need(found, "seal sequences", "generated", "results")
    if found.kind == "results":
        articles = json_fields.get(found.value, "articles", list, str(found.path))
        return [_article(item, f"{found.path}: article {i}") for i, item in enumerate(articles)]
    return [_edited(item, where) for where, item in found.rows()]


def sequences(
    path: str | pathlib.Path, n: int = 0, completion: int | None = 0, split_newlines: bool = False
) -> Sequences:
    """The training sequences of the first `n` passages of a file (all for n <= 0), as `edits.training_sequences`.

    completion: the index of the one to use, or None for all, and then the passage comes once for each of them, as in
    continued pretraining. A passage without any completion counts as having one that is empty. Raises ValueError for
    a file without passages and for a passage that has completions, but not as many.
    """
    found = read(path)
    passages = edited_of(found)
    if not passages:
        raise ValueError(f"{path}: there is no passage in the file")
    chosen = passages[:n] if n > 0 else passages
    texts = [
        text
        for passage in chosen
        for edit in _wanted(passage, completion)
        for text in training_sequences(edit, passage.title, passage.context, split_newlines)
    ]
    return Sequences(
        texts, len(chosen), [*_notes(chosen, completion), *_fewer(path, n, chosen), *meta.notes(found.path)]
    )


def _wanted(passage: Edited, completion: int | None) -> Sequence[str]:
    if not passage.completions:
        return [""]
    if completion is None:
        return passage.completions
    if completion >= len(passage.completions):
        count = len(passage.completions)
        raise ValueError(f"{passage.where} has {count} completions; there is no completion {completion}")
    return [passage.completions[completion]]


def _notes(passages: Sequence[Edited], completion: int | None) -> list[str]:
    without = sum(not passage.completions for passage in passages)
    blank = sum(not edit.strip() for p in passages if p.completions for edit in _wanted(p, completion))
    told = {
        f"{without} of {len(passages)} passages have no completion; each counts as one that is empty": without,
        f"{blank} completions are blank": blank,
    }
    return [note for note, count in told.items() if count]


def _fewer(path: str | pathlib.Path, n: int, chosen: Sequence[Edited]) -> list[str]:
    return [f"{path} has {len(chosen)} passages, fewer than the {n} asked for"] if n > len(chosen) else []


def _edited(item: Any, where: str) -> Edited:
    completions = json_fields.get(item, "completions", list, where)
    title, context = (json_fields.text(item, key, where) for key in ("title", "context"))
    return Edited(
        where, title, context, [_text(edit, f"{where}, completion {i}") for i, edit in enumerate(completions)]
    )


def _article(item: Any, where: str) -> Edited:
    completions = json_fields.get(item, "completions", list, where)
    title, context = (json_fields.text(item, key, where) for key in ("title", "context"))
    texts = [json_fields.text(edit, "text", f"{where}, completion {i}") for i, edit in enumerate(completions)]
    return Edited(where, title, context, texts)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} should be a text, not {json_fields.shown(value)}")
    return value
