"""`seal-jax seal arc`: SEAL on few-shot ARC tasks."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from seal_jax.cli.options import RunOptions, at_least, config_of
from seal_jax.cli.report import Report, finished
from seal_jax.cli.startup import announce, open_model
from seal_jax.seal.arc.settings import Settings

if TYPE_CHECKING:
    from seal_jax.data.arc import Task
    from seal_jax.runtime import Run
    from seal_jax.seal.arc.texts import Texts

Unprefixed = Annotated[Settings, tyro.conf.arg(name="")]
DEFAULTS = Settings()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arc(RunOptions):
    """Train a model to choose how it is trained on ARC tasks, and compare it with the untrained one on other tasks."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name; a chat model."""
    data: pathlib.Path
    """Tasks of the rounds: a challenges file, a directory of ID.json, or one such file."""
    solutions: pathlib.Path | None = None
    """Solutions of --data, if they are not beside it under the name with "solutions" for "challenges"."""
    test: pathlib.Path | None = None
    """Tasks of the evaluation, in the same layouts; without it tasks of --data that no round uses."""
    test_solutions: pathlib.Path | None = None
    """Solutions of --test, found like those of --data."""
    train_tasks: int = 12
    """Tasks of the rounds, the same in each of them: the first that fit in an order drawn by --seed."""
    test_tasks: int = 10
    """Tasks of the evaluation, chosen in the same way; 0 is all that fit."""
    rounds: int = 1
    """Rounds of behaviour cloning; 0 evaluates the model as it is."""
    edits: int | None = None
    """Edits tried for each task of a round and of the evaluation, instead of --edits.count and --edits.tested."""
    max_sequences: int | None = None
    """Most training sequences of a task: the same as --ttt.max-sequences."""
    controls: bool = False
    """Also evaluate random configurations, and the last policy's edits on the untrained model."""
    export: pathlib.Path | None = None
    """Where to save the trained model as a checkpoint in the Hugging Face layout: a new directory."""
    settings: Unprefixed = DEFAULTS

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(1, train_tasks=self.train_tasks, edits=self.edits, max_sequences=self.max_sequences)
        at_least(0, rounds=self.rounds, test_tasks=self.test_tasks)

    def __call__(self) -> Report:
        """Train the rounds, evaluate, write the table and the figure."""
        from seal_jax.runtime import Run

        with Run(self.out, config_of(self, data=self.data, test=self.test), self.restart) as run:
            return finished(run, run_files(self, run))


def run_files(command: Arc, run: Run) -> dict[str, Any]:
    """The study on the tasks of files. Tasks that do not fit the model's context are named and left out."""
    from seal_jax.data.arc import load_arc
    from seal_jax.seal.arc import sizes, study
    from seal_jax.seal.arc.demo import with_limits
    from seal_jax.seal.arc.texts import Texts

    settings = with_limits(command.settings, command.edits, command.max_sequences)
    found = load_arc(command.data, command.solutions)
    held_out = found if command.test is None else load_arc(command.test, command.test_solutions)
    opened = open_model(command.model, command.mesh)
    config = opened.checkpoint.config
    texts = Texts(opened.tokenizer, config.max_position, settings, command.seed)
    train = fitting(found, command.train_tasks, texts, str(command.data)) if command.rounds else []
    used = {task.demos for task in train}
    others = [task for task in held_out if task.demos not in used]
    test = fitting(others, command.test_tasks, texts, str(command.test or command.data))
    footprint = sizes.footprint(config, settings, command.dtype, sizes.longest([*train, *test], texts), opened.axes)
    announce(opened, footprint, command.dtype, command.out, settings.ttt.at_once, command.rounds, bool(command.export))
    rounds, model = [train] * command.rounds, opened.load(command.dtype)
    return study.study(run, model, rounds, test, texts, controls=command.controls, export=command.export)


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
