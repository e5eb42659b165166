"""Answers to multiple-choice questions: the letter a completion chooses."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from seal_jax.evaluation.math_answers import check_rules

_QUOTES = "\"'‘“`"
_WRAPPED = rf"[*$_\s]*(?:\\boxed\{{|\\text\{{)*[*$_{_QUOTES}]*(?:\(([A-Ja-j])\)|\(?([A-J])(?!_*[^\W_]|['’]\w))"
_PHRASE = re.compile(r"(?i:answer\s+is)\s*:?" + _WRAPPED)
_LABEL = re.compile(r"(?i:answer)[*_]*\s*:" + _WRAPPED)
_ALONE = re.compile(r"(?<![^\W_])(?<![^\W_][_'’])([A-J])(?!_*[^\W_]|['’]\w)")
_REFERENCE = (
    re.compile(r"answer is \(?([A-J])\)?"),
    re.compile(r"[aA]nswer:\s*([A-J])"),
    re.compile(r"\b([A-J])\b(?!.*\b[A-J]\b)", re.DOTALL),
)


def chosen(completion: str, options: Sequence[str], rules: str = "fixed", seed: str = "") -> str | None:
    """The letter that a completion chooses, None if it chooses none of the options.

    options: the letters there are. "fixed", in this order: after the last "answer is"; after the last "Answer:"; the
    last capital that stands alone, where "A" and "I" count only without a word after them. "reference": "answer is B",
    else "Answer: B", each at its first place, else the last letter A to J that stands alone, else a random option,
    drawn with 42 and `seed` (the problem's name), so that it does not depend on what was asked before.
    """
    check_rules(rules)
    if rules == "reference":
        for pattern in _REFERENCE:
            if match := pattern.search(completion):
                return match[1]
        return random.Random(f"42 {seed}").choice(list(options))
    for pattern in (_PHRASE, _LABEL):
        letters = [next(filter(None, match.groups())).upper() for match in pattern.finditer(completion)]
        if letters := [letter for letter in letters if letter in options]:
            return letters[-1]
    alone = [m[1] for m in _ALONE.finditer(completion) if m[1] in options and not _is_word(m, completion)]
    return alone[-1] if alone else None


def _is_word(match: re.Match[str], text: str) -> bool:
    """Whether a lone capital is the article "A" or the pronoun "I": a word follows it."""
    return match[1] in "AI" and re.match(r"\s+\w", text[match.end() :]) is not None
