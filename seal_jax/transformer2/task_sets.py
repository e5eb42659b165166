"""Tasks by name: public benchmarks with their splits, prompts and answer rules, and worlds that come with the library.

A benchmark is one row of TASKS, a world one row of WORLDS. Splits are those of the released code: of a train split the
even problems train and the odd ones validate; of MBPP's one list the first 300, shuffled, give 200 and 100.
"""

from __future__ import annotations

import functools
import pathlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from seal_jax.data.benchmarks import Source, arc_questions, gsm8k, humaneval, math, mbpp
from seal_jax.data.problems import Problem
from seal_jax.evaluation.code_execution import Limits
from seal_jax.evaluation.math_answers import check_rules
from seal_jax.evaluation.templates import chat as chat_text
from seal_jax.evaluation.templates import fill, fill_turns, load_template, load_turns
from seal_jax.transformer2 import task_graders
from seal_jax.transformer2.tasks import Task

PROMPTS = pathlib.Path(__file__).parent / "prompts"
FENCE = "```python\n"
"""What an answer that is a program begins with: it stands at the end of the prompt."""

Splits = dict[str, list[Problem]]


@dataclass(frozen=True)
class TaskSet:
    """How a benchmark becomes a task.

    load: its problems by split, from a source or, without one, from the hub. split: train, validation and test of
    them, by seed. grade: `(rules, limits, unguarded) -> grade`. template: its name; fields: what it has to use.
    base_stop: strings that end a base model's completion. fenced: the forms in which the answer is a program in a
    fence that the prompt opens. longest: tokens of a completion.
    """

    load: Callable[..., Splits]
    split: Callable[[Splits, int | None], Splits]
    grade: Callable[..., Callable[[Problem, str], bool | None]]
    template: str
    fields: tuple[str, ...] = ("question",)
    base_stop: tuple[str, ...] = ("\nQuestion:",)
    fenced: tuple[str, ...] = ()
    longest: int = 512


def alternate(splits: Splits, seed: int | None) -> Splits:
    """Even problems of the train split train, odd ones validate; with a seed after shuffling them."""
    train = list(splits.get("train", ()))
    if seed is not None:
        random.Random(seed).shuffle(train)
    return {"train": train[0::2], "validation": train[1::2], "test": splits.get("test", [])}


def first_shuffled(splits: Splits, seed: int | None) -> Splits:
    """Of one list, the first 300 of 399 shuffled with 16 or the seed, two thirds to train on; given splits stay."""
    if "train" in splits:
        return {name: splits.get(name, []) for name in ("train", "validation", "test")}
    rows = splits.get("test", [])
    head = rows[: round(len(rows) * 300 / 399)]
    random.Random(16 if seed is None else seed).shuffle(head)
    cut = round(len(head) * 2 / 3)
    return {"train": head[:cut], "validation": head[cut:], "test": rows[len(head) :]}


def test_only(splits: Splits, seed: int | None) -> Splits:
    """Nothing to train on."""
    return {"train": [], "validation": [], "test": splits.get("test", [])}


_BODY_ENDS = ("\n```", "\nassert ", "\nif __name__", "\nprint(", "\ndef ", "\nclass ")
_challenge = functools.partial(arc_questions.load, config="ARC-Challenge")

TASKS = {
    "gsm8k": TaskSet(gsm8k.load, alternate, task_graders.number, "gsm8k"),
    "math": TaskSet(math.load, alternate, task_graders.mathematics, "math", base_stop=("\nProblem:",), longest=1024),
    "arc_easy": TaskSet(arc_questions.load, alternate, task_graders.choice, "arc"),
    "arc_challenge": TaskSet(_challenge, alternate, task_graders.choice, "arc"),
    "mbpp": TaskSet(
        mbpp.load, first_shuffled, task_graders.assertions, "mbpp", ("question", "test"), (), ("base", "chat")
    ),
    "humaneval": TaskSet(
        humaneval.load, test_only, task_graders.completed, "humaneval", base_stop=_BODY_ENDS, fenced=("chat",)
    ),
}
"""The benchmarks by name."""


def _skills(family: str) -> Task:
    from seal_jax.transformer2 import skills

    return skills.task(family)


WORLDS: dict[str, Callable[[str], Task]] = {"skills": _skills}
"""Tasks that come with the library: "skills:FAMILY" is a family of a world."""


def load_task(
    name: str,
    source: Source | None = None,
    *,
    tokenizer: Any = None,
    form: Literal["auto", "base", "chat"] = "auto",
    template: str | None = None,
    rules: str = "fixed",
    split_seed: int | None = None,
    max_new_tokens: int | None = None,
    limits: Limits | None = None,
    unguarded: Sequence[str] = (),
) -> Task:
    """The task of a name: one of TASKS, or "WORLD:FAMILY" of WORLDS, which has prompts and rules of its own.

    source: a file, folder, `{split: path}` or dataset name instead of the usual dataset. form: "chat" for the
    tokenizer's chat format, "base" for plain text, "auto" for chat if the tokenizer has a format. template: a file
    with prompts of your own (`evaluation.templates`; {question}, for mbpp {test} as well). rules: how answers are read,
    "fixed" or as in the "reference". split_seed: another division into train and validation than the released one.
    limits, unguarded: of programs (`code_execution`).

    Problems keep their question as it is in `meta["question"]`. Raises ValueError for an unknown name, rows that are
    wrong, a source without a test split, and a template that does not fit; programs need a machine that can hold them
    when they are graded.
    """
    check_rules(rules)
    world, colon, family = name.partition(":")
    if colon and world in WORLDS:
        if source is not None or template is not None:
            raise ValueError(f"{name}: a world's problems and prompts are its own: leave out source and template")
        task = WORLDS[world](family)
        return task._replace(max_new_tokens=max_new_tokens or task.max_new_tokens)
    if name not in TASKS:
        raise ValueError(f"there is no task {name!r}; there are {', '.join(TASKS)} and {', '.join(WORLDS)}:FAMILY")
    task = TASKS[name]
    splits = task.load() if source is None else task.load(source)
    if not splits.get("test"):
        raise ValueError(
            f"{source or name}: no test split, only {', '.join(splits)}; name its file as {{'test': file}}"
        )
    chat = form == "chat" or (form == "auto" and bool(getattr(tokenizer, "chat_template", None)))
    fenced = ("chat" if chat else "base") in task.fenced
    prompt = _prompts(task, template or task.template, tokenizer, chat, FENCE if fenced else "")
    divided = {
        split: [p._replace(prompt=prompt(p), solution=_solution(p, fenced)) for p in problems]
        for split, problems in task.split(splits, split_seed).items()
    }
    stop = (*(() if chat else task.base_stop), *(("\n```",) if fenced else ()))
    return Task(name, **divided, grade=task.grade(rules, limits, unguarded),
                max_new_tokens=max_new_tokens or task.longest, stop=stop)  # fmt: skip


def _solution(problem: Problem, fenced: bool) -> str | None:
    """What next-token training learns: in an open fence all of the program, and the fence's end."""
    if problem.solution is None or not fenced:
        return problem.solution
    return f"{problem.meta.get('prompt', '')}{problem.solution}".rstrip() + "\n```"


def _prompts(task: TaskSet, template: str, tokenizer: Any, chat: bool, opening: str) -> Callable[[Problem], str]:
    """What fills a template: text that a model continues, in the chat form in the tokenizer's format."""
    if not chat:
        text = load_template(template, task.fields, PROMPTS)
        return lambda problem: _opened(fill(text, **_values(task, problem)), opening)
    if tokenizer is None:
        raise ValueError("the chat form needs tokenizer=, whose format it is")
    turns = load_turns(template, task.fields, PROMPTS)
    return lambda problem: chat_text(tokenizer, *fill_turns(turns, **_values(task, problem))) + opening


def _opened(text: str, opening: str) -> str:
    return text if text.endswith(opening) else f"{text.rstrip()}\n{opening}"


def _values(task: TaskSet, problem: Problem) -> dict[str, str]:
    values = {"question": problem.meta.get("prompt", problem.meta["question"])}
    if "test" in task.fields:
        values["test"] = problem.meta["tests"][0].split("\n")[0]
    return values


class Shots(NamedTuple):
    """A few problems to adapt on, and those to be scored on."""

    shots: list[Problem]
    rest: list[Problem]


PUBLISHED_SHOTS = {"math": ("test", 10, 27), "humaneval": ("test", 10, 16), "arc_challenge": ("test", 10, 38)}
"""Split, number and seed of the released few-shot experiments."""


def draw_shots(task: Task, split: str = "test", shots: int = 10, seed: int = 0, scored: str = "rest") -> Shots:
    """`shots` problems of a split, and those of it that were not drawn.

    The draw is that of the released code: indices shuffled by Python's `random` with `seed`. scored="reference" scores
    on the whole split, the shots included, as the release does. Raises ValueError unless both have problems.
    """
    if split not in ("train", "validation", "test") or scored not in ("rest", "reference"):
        raise ValueError(f"split={split!r}, scored={scored!r}: train, validation or test, and rest or reference")
    problems = list(getattr(task, split))
    if not 1 <= shots < len(problems):
        raise ValueError(f"{shots} shots of the {len(problems)} problems in {split}: use 1 or more, and leave some")
    order = list(range(len(problems)))
    random.Random(seed).shuffle(order)
    rest = sorted(order[shots:]) if scored == "rest" else range(len(problems))
    return Shots([problems[n] for n in order[:shots]], [problems[n] for n in rest])
