"""Pass 1 by prompting: a model, or an expert trained for it, is shown a request and names the label it comes under.

The reply is read by one rule. In a prompt that ends in `\\boxed{`, the label is what follows up to the next `}`;
otherwise it is in the last closed `\\boxed{...}` of the reply. Letter case, spaces, quotation marks, a full stop, and
a `\\text{...}` (or `\\mathrm`, `\\textbf`, ...) around it do not count. Whatever is then not exactly a label is
`others`, so a model that never replies in the format sends everything to `others`, which is the base model.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from seal_jax import models
from seal_jax.adapters import Adapter
from seal_jax.data.problems import Problem
from seal_jax.evaluation.templates import Turns, chat, fill, fill_turns, load_template, load_turns
from seal_jax.generation.bank import Layered
from seal_jax.transformer2.attempts import Attempt, attempt, under
from seal_jax.transformer2.experts import Expert
from seal_jax.transformer2.tasks import Task

PROMPTS = pathlib.Path(__file__).parent / "prompts"
OTHERS = "others"
NONE_FITS = "none of the other labels fits"
OPENING = "\\boxed{"
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_WRAPPED = re.compile(r"\\(?:text|mathrm|mathbf|textbf|textit|texttt)\s*\{([^{}]*)\}")
_AROUND = " \t\r\n\"'`*.$“”‘’"


@dataclasses.dataclass(frozen=True)
class Classifier:
    """How requests are sorted.

    labels: a short criterion by label, "" for none; `others` is added at the end, unless a criterion of one's own is
    given for it. template: "classify" or a file (see `evaluation.templates`) with {prompt}, the request, and if it
    likes {labels}, a line "- label: criterion" each, and {names}, the labels with commas. chat: the chat form, for
    models with a chat template. max_new_tokens: of a reply. A reply that begins in the box ends with its line.
    """

    labels: Mapping[str, str]
    template: str = "classify"
    chat: bool = False
    max_new_tokens: int = 24

    def __post_init__(self) -> None:
        """Raise ValueError for labels that cannot be told apart or that a box cannot hold, and for a bad template."""
        _check_labels(self.labels)
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens}: a reply has 1 or more")
        _ = self._form

    @property
    def names(self) -> tuple[str, ...]:
        """All labels, `others` last."""
        return (*(label for label in self.labels if label != OTHERS), OTHERS)

    @property
    def opened(self) -> bool:
        """Whether a prompt ends inside of the box, so that the reply begins there."""
        return isinstance(self._form, str) and self._form.endswith(OPENING)

    @functools.cached_property
    def _form(self) -> str | Turns:
        load = load_turns if self.chat else load_template
        return load(self.template, ("prompt",), PROMPTS, ("labels", "names"))

    def prompt(self, problem: Problem, tokenizer: Any = None) -> str:
        """The text a model is given to sort a problem. tokenizer: for the chat form, one with a chat template."""
        criteria = {**self.labels, OTHERS: self.labels.get(OTHERS, NONE_FITS)}
        lines = [f"- {name}: {criteria[name]}" if criteria[name] else f"- {name}" for name in self.names]
        values = {"labels": "\n".join(lines), "names": ", ".join(self.names), "prompt": request(problem)}
        if isinstance(self._form, str):
            return fill(self._form, **values)
        return chat(tokenizer, *fill_turns(self._form, **values))

    def problems(self, problems: Sequence[Problem], tokenizer: Any = None, label: str = OTHERS) -> list[Problem]:
        """The problems as ones of sorting: the prompt asks for a label, the right answer is `label`."""
        solution = f"{label}}}" if self.opened else f"{OPENING}{label}}}"
        return [Problem(p.id, self.prompt(p, tokenizer), label, solution) for p in problems]

    def task(self, name: str = "classify") -> Task:
        """Sorting as a task without problems: how a reply is graded, how long it is and where it ends."""
        grade = lambda problem, reply: self.read(reply) == problem.answer  # noqa: E731
        return Task(name, (), (), (), grade, self.max_new_tokens, ("\n",) if self.opened else ())

    def read(self, reply: str) -> str:
        """The label of a reply, by the rule of this module; `others` for what is none."""
        return read_label(reply, self.names, self.opened)


def _check_labels(labels: Any) -> None:
    if not isinstance(labels, Mapping):
        raise ValueError(f"labels={labels!r}: give a criterion by label, as {{'math': 'something is to be computed'}}")
    seen: dict[str, str] = {}
    for label, criterion in labels.items():
        if not isinstance(label, str) or not label or _bare(label) != label.casefold() or set(label) & set("{}\\\n,"):
            raise ValueError(f"{label!r} is no label: use a word, without braces, commas, quotes or spaces around it")
        if label.casefold() in seen:
            raise ValueError(f"labels {seen[label.casefold()]!r} and {label!r} differ in letter case alone")
        if not isinstance(criterion, str) or "\n" in criterion:
            raise ValueError(f"the criterion of label {label!r} is {criterion!r}: give one line of text, or ''")
        if label != OTHERS and label.casefold() == OTHERS:
            raise ValueError(f"{label!r} is no label beside {OTHERS!r}: they differ in letter case alone")
        seen[label.casefold()] = label
    if not set(seen) - {OTHERS}:
        raise ValueError(f"there are no labels but {OTHERS!r}: give one for each expert")


def request(problem: Problem) -> str:
    """What a problem asks, as text: its `meta["question"]`, else its prompt, or what its user turns say.

    System turns, and what a task's prompt asks for beside the question, would give the task away.
    """
    if isinstance(problem.meta.get("question"), str):
        return problem.meta["question"]
    if isinstance(problem.prompt, str):
        return problem.prompt
    return "\n\n".join(turn["content"] for turn in problem.prompt if turn["role"] == "user")


def read_label(reply: str, labels: Iterable[str], opened: bool = False) -> str:
    """The label in a reply, by the rule of this module; opened: the prompt ended in `\\boxed{`."""
    if opened:
        match = _BOXED.match(OPENING + reply)
        found = [match[1]] if match else []
    else:
        found = _BOXED.findall(reply)
    known = {label.casefold(): label for label in labels}
    return known.get(_bare(found[-1]), OTHERS) if found else OTHERS


def _bare(text: str) -> str:
    return _WRAPPED.sub(r"\1", text).replace("\\_", "_").strip(_AROUND).casefold()


class Sorted(NamedTuple):
    """Pass 1: the label of each problem, and the attempts that it was read from."""

    labels: list[str]
    attempts: list[Attempt]


def classify(
    model: models.Model,
    classifier: Classifier,
    problems: Sequence[Problem],
    *,
    expert: Expert | None = None,
    factors: Adapter | Layered | None = None,
    rows: int = 64,
) -> Sorted:
    """Sort problems, greedily: by the base model ("prompt"), or by an expert trained for it ("classifier").

    factors: of an SVF expert, as in `adapters.attach`. rows: prompts at once. Raises ValueError as `attempts.attempt`.
    """
    how = under(expert.adapter, len(problems), factors, expert.meta.compose) if expert else {}
    asked = classifier.problems(problems, model.tokenizer)
    found = [each[0] for each in attempt(model, classifier.task(), asked, rows=rows, **how)]
    return Sorted([classifier.read(a.text) for a in found], found)
