"""The ARC tasks of a command: which solutions file is theirs, which can serve, and which fit the model."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from seal_jax.data.arc import Task
    from seal_jax.seal.arc.texts import Texts


class Source(NamedTuple):
    """Tasks as a command is given them: a path, the solutions that its flag names, and that flag."""

    path: pathlib.Path
    given: pathlib.Path | None
    flag: str

    @property
    def answers(self) -> pathlib.Path | None:
        """The solutions file: the given one, or the one beside the tasks; None if there is none."""
        return self.given or (self.beside if self.beside and self.beside.is_file() else None)

    @property
    def beside(self) -> pathlib.Path | None:
        """Where `data.arc.load_arc` looks for a solutions file; None for a name without "challenges"."""
        name = self.path.name
        return self.path.with_name(name.replace("challenges", "solutions")) if "challenges" in name else None

    def tasks(self) -> list[Task]:
        """The tasks with what is known of their answers; ValueError and OSError as `data.arc.load_arc`."""
        from seal_jax.data.arc import load_arc

        return load_arc(self.path, self.answers)

    def how_to(self) -> str:
        """Why answers are not known, and how to give them."""
        named = 'only beside a file with "challenges" in its name is one looked for'
        looked = f"there is no {self.beside}" if self.beside else named
        return f"their tests have no output; solutions: {looked}; name the file with {self.flag}"


def answered(tasks: list[Task], source: Source) -> list[Task]:
    """Those of the tasks whose answers are all known; how many others there are is told on standard error.

    Raises ValueError if there are none, saying which file was looked for.
    """
    found = [task for task in tasks if _known(task)]
    if not found:
        raise ValueError(
            f"{source.path}: no task has known answers, and rounds learn from tasks that are solved "
            f"({source.how_to()}; --rounds 0 evaluates only)"
        )
    if len(found) < len(tasks):
        some = f"{len(tasks) - len(found)} of {len(tasks)} tasks"
        print(f"{source.path}: {some} have no known answers and are in no round", file=sys.stderr)
    return found


def tell_unknown(test: list[Task], source: Source) -> None:
    """Tell on standard error how many tasks of the evaluation do not count, because their answers are not known."""
    unknown = sum(not _known(task) for task in test)
    if unknown:
        what = (
            "there will be no accuracy, attempts only"
            if unknown == len(test)
            else "they are attempted, and not counted"
        )
        some = f"{unknown} of {len(test)} tasks of the evaluation"
        print(f"warning: {source.path}: {some} have no known answers: {what} ({source.how_to()})", file=sys.stderr)


def fitting(tasks: list[Task], count: int, texts: Texts, where: str) -> list[Task]:
    """The first `count` tasks (0: all) that fit the context, in an order drawn by the seed; the others are named.

    Raises ValueError if there are fewer.
    """
    from seal_jax.data.packing import permutation

    kept: list[Task] = []
    for index in permutation(len(tasks), texts.seed):
        if count and len(kept) == count:
            break
        if reason := texts.obstacle(tasks[index]):
            print(f"task {tasks[index].id} is left out: {reason}", file=sys.stderr)
        else:
            kept.append(tasks[index])
    if len(kept) < max(count, 1):
        raise ValueError(
            f"{where}: {len(kept)} of {len(tasks)} tasks fit the model's context of {texts.context} tokens; "
            f"{count or 'at least 1'} are asked for"
        )
    return kept


def _known(task: Task) -> bool:
    return all(example.output is not None for example in task.tests)
