"""A model as grader: it is shown question, gold answer and answer, and says yes or no."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from seal_jax.evaluation.grading import Case, Grader, parse_verdict
from seal_jax.evaluation.templates import Turns, fill, fill_turns, load_template, load_turns

_SAYS_EITHER = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


def read_verdict(reply: str | None) -> bool | None:
    """`parse_verdict` of a reply; None, which is ungraded, for no reply and for one that says neither yes nor no."""
    return parse_verdict(reply) if reply is not None and _SAYS_EITHER.search(reply) else None


def judge(ask: Callable[[Sequence[Case]], Sequence[str | None]], *, again: bool = True) -> Grader:
    """The grader that takes the verdict from what `ask` replies to each case; None where it has no reply.

    An empty answer is wrong without being asked about, equal cases are asked about once, and a verdict is remembered as
    long as the grader lives. again: whether a case without a verdict is asked about when it comes again, because the
    reply may be another.
    """
    known: dict[Case, bool | None] = {}

    def grade(cases: Sequence[Case]) -> list[bool | None]:
        stripped = [case._replace(answer=case.answer.strip()) for case in cases]
        missing = list(dict.fromkeys(case for case in stripped if case.answer and case not in known))
        for case, reply in zip(missing, ask(missing) if missing else ()):
            verdict = read_verdict(reply)
            if verdict is not None or not again:
                known[case] = verdict
        return [known.get(case) if case.answer else False for case in stripped]

    return grade


def judge_prompts(cases: Sequence[Case], template: str = "judge") -> list[str]:
    """What a base model continues with yes or no; template: "judge" or a file with {question}, {gold} and {answer}."""
    text = load_template(template, Case._fields)
    return [fill(text, **case._asdict()) for case in cases]


def judge_turns(cases: Sequence[Case], template: str = "judge") -> list[Turns]:
    """What a chat model answers with yes or no: `judge_prompts` in the chat form (see `templates`)."""
    turns = load_turns(template, Case._fields)
    return [fill_turns(turns, **case._asdict()) for case in cases]
