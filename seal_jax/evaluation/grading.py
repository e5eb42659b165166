"""Is an answer right? String rules that need no model, and the verdict of a model that was asked."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_YES, _NO = re.compile(r"\byes\b", re.IGNORECASE), re.compile(r"\bno\b", re.IGNORECASE)


class Case(NamedTuple):
    """What is graded. The question has its topic line above it, as the model was asked."""

    question: str
    gold: str
    answer: str


Grader: TypeAlias = Callable[[Sequence[Case]], list[bool | None]]
"""Verdicts of cases, in order: True is right, False wrong, and None ungraded, which counts as neither."""


def rule_grader(rule: str = "recall") -> Grader:
    """The grader that applies a rule of RULES; it grades every case. Raises ValueError for an unknown rule."""
    if rule not in RULES:
        raise ValueError(f"rule {rule!r} is not one of {', '.join(RULES)}")
    return lambda cases: [correct(case.answer, case.gold, rule) for case in cases]


def normalize(text: str) -> str:
    """Lower case, no punctuation, no English articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, gold: str) -> bool:
    """The normalized answer is the gold answer."""
    return _tokens(answer, gold)[0] == _tokens(answer, gold)[1]


def contained(answer: str, gold: str) -> bool:
    """The gold tokens stand in the answer, whole and in order."""
    said, wanted = _tokens(answer, gold)
    return any(said[i : i + len(wanted)] == wanted for i in range(len(said) - len(wanted) + 1))


def token_recall(answer: str, gold: str) -> float:
    """The share, 0 to 1, of the gold tokens that the answer holds; repeated tokens count as often as they occur."""
    said, wanted = _tokens(answer, gold)
    return (Counter(said) & Counter(wanted)).total() / len(wanted) if wanted else 0.0


def correct(answer: str, gold: str, rule: str = "recall") -> bool:
    """Whether the answer passes a rule of RULES; an empty answer never does.

    "recall", the default, asks for at least 0.67 of the gold tokens: of the rules without a model it agrees best with
    recorded verdicts of GPT-4.1. Raises ValueError for an unknown rule or an empty gold answer.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r} is not one of {', '.join(RULES)}")
    if not gold.strip():
        raise ValueError("the gold answer is empty: nothing can be graded against it")
    return bool(answer.strip()) and RULES[rule](answer, gold)


RULES: dict[str, Callable[[str, str], bool]] = {
    "exact": exact_match,
    "contained": contained,
    "recall": lambda answer, gold: token_recall(answer, gold) >= 0.67,
    "recall_all": lambda answer, gold: token_recall(answer, gold) == 1.0,
    "recall_half": lambda answer, gold: token_recall(answer, gold) >= 0.5,
}


def parse_verdict(reply: str) -> bool:
    """A grader's reply as a verdict: it has the word "yes", in any case, and not the word "no"."""
    return bool(_YES.search(reply)) and not _NO.search(reply)


def _tokens(answer: str, gold: str) -> tuple[list[str], list[str]]:
    """Both as tokens; where normalizing leaves nothing of the gold answer ("A", "%"), both are only lower-cased."""
    if normalize(gold):
        return normalize(answer).split(), normalize(gold).split()
    return answer.lower().split(), gold.lower().split()
