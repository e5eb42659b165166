"""`seal-jax svf evaluate` and `dispatch`: experts on the test problems of tasks, beside the base model on the same."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from seal_jax.cli.report import Report, finished
from seal_jax.cli.startup import open_model
from seal_jax.cli.svf_options import (
    OneTask,
    Ready,
    WithExperts,
    expert_files,
    named_task,
    own_task,
    prepared,
    run_config,
)

if TYPE_CHECKING:
    from seal_jax.runtime import Run
    from seal_jax.transformer2 import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(OneTask, WithExperts):
    """Every expert, and the base model, on the test problems of a task, with paired differences."""

    def __call__(self) -> Report:
        """Load, answer, compare."""
        from seal_jax.runtime import Run
        from seal_jax.transformer2.scores import compared

        files = expert_files(self.experts)
        if taken := sorted(_TAKEN & files.keys()):
            raise ValueError(f"an expert named {taken[0]!r} would be taken for something else in the result; rename it")
        with Run(self.out, run_config(self, files), self.restart) as run:
            opened = open_model(self.model, self.mesh)
            task = own_task(self, opened)
            if not task.test:
                raise ValueError(f"task {self.task} has no test problems to evaluate on")
            ready = prepared(self, opened, [task], files)
            found = {"base": _base(run, "base", ready, task, self.rows)}
            found |= {name: _answered(run, f"expert-{n}", ready, task, name, self.rows) for n, name in enumerate(files)}
            return finished(run, {**compared(found), "task": task.name, "seconds": run.seconds}, over="problems")


_TAKEN = {"base", "differences", "task", "seconds"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dispatch(WithExperts):
    """Sort each problem to an expert, answer with it, and compare with the base model on the same problems."""

    tasks: tuple[str, ...]
    """Tasks whose test problems are answered, mixed; which task a problem is of is not told."""
    data: tuple[str, ...] = ()
    """In place of the tasks' usual data sets, one for each in the same order: a file, a directory, or a name."""
    strategy: Literal["prompt", "classifier"] = "prompt"
    """Who sorts: the base model, or the expert of --classifier."""
    classifier: pathlib.Path | None = None
    """An expert trained to sort, for --strategy classifier."""
    labels: tuple[str, ...] = ()
    """What problems may be sorted to, as NAME or "NAME=criterion" with the NAME of an expert; by default all experts.
    `others`, the base model, is always one."""
    sort_template: str = "classify"
    """The prompt that asks for a label: a name, or a file."""
    sort_chat: bool = False
    """It is asked through the tokenizer's chat template."""

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        if (self.strategy == "classifier") != (self.classifier is not None):
            raise ValueError("--strategy classifier and --classifier FILE go together")
        if self.data and len(self.data) != len(self.tasks):
            raise ValueError(f"--data has {len(self.data)} paths for {len(self.tasks)} tasks: give one for each")

    def __call__(self) -> Report:
        """Sort, answer, compare."""
        from seal_jax.runtime import Run

        files = expert_files(self.experts)
        with Run(self.out, run_config(self, files), self.restart) as run:
            return finished(run, _dispatched(self, run, files), over="problems")


def _base(run: Run, name: str, ready: Ready, task: Task, rows: int) -> list[bool | None]:
    from seal_jax.transformer2.scores import verdicts

    return run.stage(f"answers/{name}", lambda: verdicts(ready.model, task, task.test, rows=rows))


def _answered(run: Run, stage: str, ready: Ready, task: Task, name: str, rows: int) -> list[bool | None]:
    from seal_jax.transformer2.dispatch import answer

    which = [name] * len(task.test)
    answers = lambda: answer(ready.model, ready.bank([name]), task, task.test, which, rows=rows)  # noqa: E731
    return run.stage(f"answers/{stage}", lambda: [one.correct for one in answers()])


def _dispatched(command: Dispatch, run: Run, files: Mapping[str, pathlib.Path]) -> dict[str, Any]:
    from seal_jax.transformer2.classify import OTHERS, Classifier
    from seal_jax.transformer2.dispatch import dispatch, report
    from seal_jax.transformer2.scores import compared

    paths = command.data or [None] * len(command.tasks)
    opened = open_model(command.model, command.mesh)
    each = zip(command.tasks, paths)
    tasks = {name: named_task(command, opened, name, path)._replace(name=name) for name, path in each}
    criteria = dict(map(criterion, command.labels)) or dict.fromkeys(files, "")
    classifier = Classifier(criteria, command.sort_template, chat=command.sort_chat)
    if unknown := [label for label in classifier.names if label not in (*files, OTHERS)]:
        raise ValueError(f"--labels {unknown[0]}: no expert is named so; experts are {', '.join(files)}")
    sorter = {_SORTER: command.classifier} if command.classifier else {}
    ready = prepared(command, opened, list(tasks.values()), {**files, **sorter})
    bank = ready.bank(list(files))
    how: dict[str, Any] = {"rows": command.rows}
    if command.classifier:
        how |= {"expert": ready.experts[_SORTER], "factors": ready.bank([_SORTER]).factors}

    def compute() -> dict[str, Any]:
        found = dispatch(ready.model, bank, list(tasks.values()), classifier, **how)
        return {**report(found), "verdicts": {name: [a.correct for a in own] for name, own in found.attempts.items()}}

    base = {
        name: _base(run, f"base-{number}", ready, task, command.rows)
        for number, (name, task) in enumerate(tasks.items())
    }
    found = run.stage("dispatch", compute)
    flat = lambda each: [verdict for own in each.values() for verdict in own]  # noqa: E731
    return {
        **compared({"base": flat(base), "dispatched": flat(found["verdicts"])}),
        "by_task": {name: compared({"base": base[name], "dispatched": found["verdicts"][name]}) for name in tasks},
        **{name: found[name] for name in ("labels", "confusion", "seconds")},
    }


_SORTER = "(classifier)"


def criterion(label: str) -> tuple[str, str]:
    """Name and criterion of "NAME=criterion"; the criterion is empty where there is none."""
    name, _, told = label.partition("=")
    return name.strip(), told.strip()
