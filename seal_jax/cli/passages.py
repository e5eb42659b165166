"""Passages, and edits of them, from files that a command is given."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seal_jax.data.squad import Passage


def chosen_passages(path: pathlib.Path | None, count: int, seed: int, need_questions: bool = True) -> list[Passage]:
    """`count` passages of a file drawn by seed, or all of them in order for 0.

    need_questions: as in `data.squad.load_squad`. Raises ValueError if there are fewer.
    """
    from seal_jax.data.squad import load_squad, subset

    assert path is not None, "checked by the caller"
    found = load_squad(path, need_questions)
    if len(found) < count:
        kind = "passages with questions" if need_questions else "passages"
        raise ValueError(f"{path} has {len(found)} {kind}; {count} are asked for")
    return subset(found, count, seed) if count else found


def edited_passages(data: pathlib.Path | None, edits: pathlib.Path | None, count: int, seed: int) -> list[Passage]:
    """`chosen_passages` of `data`, or of `edits` where that is None; given both, of those in `data` that have edits.

    Raises ValueError if there are none, or fewer than `count`.
    """
    if data is None or edits is None:
        return chosen_passages(data or edits, count, seed)
    from seal_jax.data.squad import subset

    written = _by_text(edits)
    found = [p for p in chosen_passages(data, 0, seed) if (p.title, p.context) in written]
    if not found:
        raise ValueError(f"{edits}: none of its passages is in {data}, by title and text")
    if len(found) < count:
        raise ValueError(f"{edits} has edits of {len(found)} passages of {data}; {count} are asked for")
    return subset(found, count, seed) if count else found


def given_edits(path: pathlib.Path, passages: list[Passage]) -> list[list[str]]:
    """All completions of each passage, found by its text. Raises ValueError for a passage that has none."""
    known = _by_text(path)
    return [_completions(path, p.title, known.get((p.title, p.context))) for p in passages]


def given_edit(path: pathlib.Path, passages: list[Passage], number: int) -> list[str]:
    """Completion `number` of each passage. Raises ValueError for a passage that has not as many."""
    found = given_edits(path, passages)
    for passage, completions in zip(passages, found):
        if number >= len(completions):
            raise ValueError(
                f"{path}: passage {passage.title!r} has {len(completions)} completions, so --completion {number} is "
                f"none of them: use 0 to {len(completions) - 1}"
            )
    return [completions[number] for completions in found]


def _by_text(path: pathlib.Path) -> dict[tuple[str, str], Any]:
    """What a file has under "completions", by title and text of the passage."""
    from seal_jax.data.squad import read_items

    items = (item for item in read_items(path) if isinstance(item, dict))
    named = ((item.get("title"), item.get("context"), item.get("completions")) for item in items)
    return {(title, text): said for title, text, said in named if isinstance(title, str) and isinstance(text, str)}


def _completions(path: pathlib.Path, title: str, completions: Any) -> list[str]:
    if not isinstance(completions, list) or not completions or not all(isinstance(c, str) for c in completions):
        raise ValueError(
            f"{path}: passage {title!r} has no completions; expected a list of texts, as `seal edits` writes them"
        )
    return completions
