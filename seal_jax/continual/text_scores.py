"""Scores in [0, 1] of generated answers: exact match, ROUGE-L, similarity of characters, SARI."""

from __future__ import annotations

import difflib
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

Score = Callable[[str, str, str], float]


def exact(answer: str, wanted: str, source: str = "") -> float:
    """1 if both are equal in small letters, without punctuation, runs of spaces counting as one."""
    del source
    return float(_plain(answer) == _plain(wanted))


def rouge_l(answer: str, wanted: str, source: str = "") -> float:
    """ROUGE-L: the harmonic mean of the shares of both texts' words that are in their longest common subsequence."""
    del source
    one, other = (re.findall(r"\w+", text.lower()) for text in (answer, wanted))
    common = _longest_common(one, other)
    return 2 * common / (len(one) + len(other)) if common else 0.0


def similarity(answer: str, wanted: str, source: str = "") -> float:
    """Twice the matching characters over all characters, by `difflib`; 1 for two empty texts."""
    del source
    return difflib.SequenceMatcher(None, answer.strip(), wanted.strip(), autojunk=False).ratio()


def sari(answer: str, wanted: str, source: str = "") -> float:
    """SARI with one reference: of the n-grams, n 1 to 4, that should be kept, deleted and added, how many were.

    source: the text that is simplified. A share of nothing is 1.
    """
    texts = [text.lower().split() for text in (source, answer, wanted)]
    found = [_operations(*(Counter(_ngrams(text, n)) for text in texts)) for n in range(1, 5)]
    return sum(map(sum, found)) / 12


SCORES: dict[str, Score] = {"accuracy": exact, "rouge_l": rouge_l, "similarity": similarity, "sari": sari}
"""By the name that a `TextTask` has: `(answer, wanted, source) -> score`."""


def _plain(text: str) -> str:
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        before = row
        row = [0]
        for place, second in enumerate(other):
            row.append(before[place] + 1 if word == second else max(before[place + 1], row[place]))
    return row[-1]


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _operations(source: Counter, answer: Counter, wanted: Counter) -> tuple[float, float, float]:
    """F1 of what is kept, precision of what is deleted, F1 of what is added."""
    kept, keepable = source & answer, source & wanted
    right = kept & wanted
    keep = _f1(_shares(right, kept), _shares(right, keepable))
    deleted = source - answer
    delete = _shares(deleted - wanted, deleted)
    added, addable = set(answer) - set(source), set(wanted) - set(source)
    good = len(added & addable)
    add = _f1(good / len(added) if added else 1.0, good / len(addable) if addable else 1.0)
    return keep, delete, add


def _shares(part: Counter, whole: Counter) -> float:
    return sum(part[gram] / whole[gram] for gram in whole) / len(whole) if whole else 1.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
