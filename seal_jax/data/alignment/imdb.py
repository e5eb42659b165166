"""Beginnings of film reviews (IMDB), to be continued in a given tone."""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from seal_jax.data.alignment.rows import first_text, read
from seal_jax.data.benchmarks.sources import Source, problems
from seal_jax.data.json_fields import Row, read_text
from seal_jax.data.problems import Problem

SOURCE, CONFIGS = "stanfordnlp/imdb", ("plain_text",)
TONES = ("negative", "positive")
_FOLDERS = {"neg": 0, "pos": 1}
_TEXT = ("text", "review", "prompt")
_LABEL = ("label", "sentiment")


def load(source: Source = SOURCE, words: int = 8) -> dict[str, list[Problem]]:
    """Problems by split. prompt: the first `words` words of a review; there is no gold answer.

    meta: `review`, all of it without line breaks of HTML, and `tone`, "positive", "negative", or "" where the source
    does not say. Takes rows with a text and a label, and the folders of the release (`test/pos/0_10.txt`).
    Raises as `alignment.rows.read`, ValueError for `words` below 1, and one that says where for a row without a text
    or with another label.
    """
    if words < 1:
        raise ValueError(f"words should be at least 1, not {words}")
    released = None if isinstance(source, Mapping) else _released(pathlib.Path(source).expanduser())
    return problems(released or read(source, CONFIGS), functools.partial(_problem, words=words), source)


def _released(folder: pathlib.Path) -> dict[str, list[Row]]:
    """Rows of the folders `SPLIT/pos` and `SPLIT/neg`, or of `pos` and `neg`, which are the test split; {} if none."""
    splits: dict[str, list[Row]] = {}
    for name, label in _FOLDERS.items():
        for path in sorted(folder.glob(f"**/{name}/*.txt")):
            split = path.parents[1].name if path.parents[1] != folder else "test"
            splits.setdefault(split, []).append((str(path), {"text": read_text(path, "a review"), "label": label}))
    return splits


def _problem(row: Any, where: str, name: str, words: int) -> Problem:
    review = re.sub(r"\s*(?:<br\s*/?>\s*)+", " ", first_text(row, _TEXT, where))
    columns = row if isinstance(row, dict) else {}
    label = next((columns[key] for key in _LABEL if columns.get(key) is not None), None)
    prompt = re.match(rf"(?:\S+\s+){{0,{words - 1}}}\S+", review)
    return Problem(
        f"imdb/{name}", prompt[0] if prompt else review, None, None, {"review": review, "tone": _tone(label, where)}
    )


def _tone(label: Any, where: str) -> str:
    """The tone that a label means: 0 or 1, as a number or text, or the word; -1 (unlabelled) and None are ""."""
    if label is None or str(label) == "-1":
        return ""
    if str(label).lower() in TONES:
        return str(label).lower()
    if str(label) in ("0", "1"):
        return TONES[int(label)]
    raise ValueError(f"{where}: the label should be 0, 1, {' or '.join(TONES)}, not {label!r:.40}")
