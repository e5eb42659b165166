"""Streams of plain text: what is new since the last snapshot, and texts that tell their time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

Time = TypeVar("Time", int, str)
_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+(?=[\"'(\[]?[^\Wa-z_])")


class Difference(NamedTuple):
    """What a snapshot of documents has that the one before had not, by document, each a list of sentences.

    changed: new sentences of documents that were there; new: those of new documents; unchanged: sentences that stayed,
    to measure what is forgotten on.
    """

    changed: dict[str, list[str]]
    new: dict[str, list[str]]
    unchanged: dict[str, list[str]]

    def corpus(self) -> list[str]:
        """A text for each document with something new, in the order of the snapshot: what TemporalWiki trains on."""
        return [" ".join(found) for found in {**self.changed, **self.new}.values()]


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> Difference:
    """What `new`, texts by title, has that `old` had not, by sentences, spaces aside. What is gone does not show."""
    found = Difference({}, {}, {})
    for title, text in new.items():
        if title not in old:
            found.new[title] = sentences(text)
            continue
        before = set(map(_plain, sentences(old[title])))
        there = sentences(text)
        for name, chosen in (
            ("changed", [s for s in there if _plain(s) not in before]),
            ("unchanged", [s for s in there if _plain(s) in before]),
        ):
            if chosen:
                getattr(found, name)[title] = chosen
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a text: lines, cut after . ! ? where a capital letter, or a digit, follows."""
    parts = [part.strip() for line in text.splitlines() for part in _END.split(line)]
    return [part for part in parts if part]


def add_time(text: str, time: int | str) -> str:
    """The text with its time before it, "year: 2021 text: ...", so that facts are learned as of then."""
    return f"year: {time} text: {text}"


def by_time(texts: Iterable[tuple[Time, str]]) -> dict[Time, list[str]]:
    """A stream of (time, text) pairs as one task for each time, in order of time, texts prefixed by `add_time`."""
    found: dict[Time, list[str]] = {}
    for time, text in texts:
        found.setdefault(time, []).append(add_time(text, time))
    return dict(sorted(found.items()))


def _plain(sentence: str) -> str:
    return " ".join(sentence.split())
