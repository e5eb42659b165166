"""A task of a stream: prompts with the answers that are wanted."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Example(NamedTuple):
    """prompt: the text a model continues; answer: how, with the space that it begins with."""

    prompt: str
    answer: str


class TextTask(NamedTuple):
    """One task of a stream.

    labels: the answers there are, which a model can be ranked on; none where any text may be answered. score: how
    answers are scored, "accuracy", "rouge_l", "similarity" or "sari". epochs: passes that are published for it.
    """

    name: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...] = ()
    score: str = "accuracy"
    epochs: int | None = None

    def cut(self, train: int = 0, validation: int = 0, test: int = 0) -> TextTask:
        """The first so many examples of each split; 0 is all of it."""
        splits = {"train": train, "validation": validation, "test": test}
        return self._replace(**{name: getattr(self, name)[: count or None] for name, count in splits.items()})


def carve(items: Sequence[Item], texts: Sequence[str], count: int) -> tuple[list[Item], list[Item]]:
    """`count` items taken out, and the rest, both in their order; items of equal text go the same way.

    Which ones is decided by the SHA-256 of their texts, so it depends on no seed, order or other item.
    ValueError if there are fewer items.
    """
    if not 0 <= count <= len(items):
        raise ValueError(f"{count} of {len(items)} examples cannot be taken out")
    hashes = [hashlib.sha256(text.encode(errors="surrogateescape")).digest() for text in texts]
    taken: set[bytes] = set()
    for chosen in sorted(hashes)[:count]:
        taken.add(chosen)
    return (
        [item for item, h in zip(items, hashes, strict=True) if h in taken],
        [item for item, h in zip(items, hashes, strict=True) if h not in taken],
    )


def manifest(folder: pathlib.Path) -> dict[str, str]:
    """The SHA-256, in hexadecimal, of every JSON file under `folder` by its path from there, in order of the paths."""
    files = sorted(path for path in folder.rglob("*.json*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
