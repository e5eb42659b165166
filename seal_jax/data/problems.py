"""A problem: something a model is asked, and what a right answer to it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Problem(NamedTuple):
    """One prompt with what is needed to grade a completion of it.

    id: unique within its task. prompt: text to continue, or chat messages `{"role", "content"}` for the tokenizer's
    own template. answer: the gold answer, in the form its task's grader reads. solution: a worked text that ends in
    the answer, for next-token training; None where the source has none. meta: what else a grader needs, as the tests
    of a programming problem, or a label to report by.
    """

    id: str
    prompt: str | tuple[Mapping[str, str], ...]
    answer: Any
    solution: str | None = None
    meta: Mapping[str, Any] = {}
