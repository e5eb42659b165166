"""Names, dates and numbers of a text, by rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

KINDS = ("date", "number", "name")

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_YEAR = r"(?:1\d{3}|20\d{2})"
_DATE = re.compile(
    rf"\b(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:,? {_YEAR})?|(?:\d{{1,2}}(?:st|nd|rd|th)? )?{_MONTH},? {_YEAR}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)? {_MONTH}|{_YEAR}s?)(?!\w)"
)
_NUMBER = re.compile(
    r"(?<![\w.])(?:[$€£¥]\s?)?\d+(?:[.,]\d+)*(?:\s?%|st\b|nd\b|rd\b|th\b)?"
    r"|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\w+)?|hundred|thousand|million|billion)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_](?:[\w’'-]*\w)?\.?")
_JOINING = re.compile("of|de|del|della|der|den|van|von|la|le|bin|ibn|al|da|di|du|dos")
_COMMON = re.compile(
    "a|an|the|this|that|these|those|i|he|she|it|we|they|you|his|her|its|their|my|our|your|who|what|when|where|why|how"
    "|which|in|on|at|by|for|from|to|with|after|before|since|until|during|while|if|as|and|but|or|so|because|although"
    "|there|here|then|now|is|are|was|were|be|has|have|had|do|does|did|can|could|will|would|may|might|must|should|not"
    "|no|yes|all|some|many|most|few|each|every|both|one|also|however|thus|answer|question"
)


class Span(NamedTuple):
    """Characters `text[start:end]` and what they are, one of `KINDS`."""

    start: int
    end: int
    kind: str


def salient_spans(text: str, kinds: Sequence[str] = KINDS) -> list[Span]:
    """The dates, numbers and names of a text, in order and without overlap; a date's digits are no number.

    By rules and for scripts with capital letters: a name is a run of capitalised words, less common words in front; one
    such word alone counts where no sentence starts with it, or if the text has it elsewhere too. Raises ValueError for
    an unknown kind.
    """
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise ValueError(f"unknown kind {min(unknown)!r} of span; known: {', '.join(KINDS)}")
    found: list[Span] = []
    for kind, spans in (("date", _matches(_DATE, text)), ("number", _matches(_NUMBER, text)), ("name", _names(text))):
        free = [(a, b) for a, b in spans if all(b <= s.start or s.end <= a for s in found)]
        found += [Span(a, b, kind) for a, b in free]
    return sorted(span for span in found if span.kind in kinds)


def _matches(pattern: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    return [match.span() for match in pattern.finditer(text)]


def _names(text: str) -> list[tuple[int, int]]:
    words = [(m.start(), m.end(), m.group()) for m in _WORD.finditer(text)]
    capital = [w[0].isupper() and not _COMMON.fullmatch(w.lower().rstrip(".")) for _, _, w in words]
    elsewhere = {w.rstrip(".") for i, (start, _, w) in enumerate(words) if capital[i] and not _opens(text, start)}
    found, i = [], 0
    while i < len(words):
        last = _run(text, words, capital, i) if capital[i] else i
        if capital[i] and (last > i or not _opens(text, words[i][0]) or words[i][2].rstrip(".") in elsewhere):
            found.append((words[i][0], words[last][0] + len(words[last][2].rstrip("."))))
        i = last + 1
    return found


def _run(text: str, words: list[tuple[int, int, str]], capital: list[bool], first: int) -> int:
    """The last word of the run of capitalised words that starts at `first`, joined by spaces or short words."""
    last, i = first, first + 1
    while i < len(words) and text[words[i - 1][1] : words[i][0]] == " " and not _ends(words[i - 1][2]):
        if capital[i]:
            last = i
        elif not _JOINING.fullmatch(words[i][2]):
            break
        i += 1
    return last


def _ends(word: str) -> bool:
    return word.endswith(".") and len(word) > 2  # an initial's full stop ends no sentence


def _opens(text: str, start: int) -> bool:
    before = text[:start].rstrip(" \t\"'“‘(")
    return not before or before[-1] in ".!?:\n"
