"""`seal-jax seal arc`: SEAL on few-shot ARC tasks."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from seal_jax.cli.arc_tasks import Source, answered, fitting, tell_unknown
from seal_jax.cli.export import check_export, claim_export
from seal_jax.cli.options import RunOptions, at_least, config_of
from seal_jax.cli.report import Report, finished
from seal_jax.cli.startup import announce, open_model
from seal_jax.seal.arc.settings import Settings

if TYPE_CHECKING:
    from seal_jax.runtime import Run

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
    """Solutions of --data, if they are not beside it under the name with "solutions" for "challenges". A task whose
    answers are not known is in no round; if none are known, rounds are refused."""
    test: pathlib.Path | None = None
    """Tasks of the evaluation, in the same layouts; without it tasks of --data that no round uses."""
    test_solutions: pathlib.Path | None = None
    """Solutions of --test, found like those of --data. Tasks whose answers are not known are attempted (the attempts
    are in OUT/stages/evaluation) and do not count; this is told before the model is loaded."""
    train_tasks: int = 12
    """Tasks of the rounds, the same in each of them, with other draws of edits: the first that fit in an order drawn by
    --seed."""
    test_tasks: int = 10
    """Tasks of the evaluation, chosen in the same way; 0 is all that fit."""
    rounds: int = 1
    """Rounds of behaviour cloning; 0 evaluates the model as it is."""
    edits: int | None = None
    """Edits tried for each task of a round, instead of --edits.count. Where --edits.tested, the edits of a task of the
    evaluation, is larger, it becomes this number as well."""
    max_sequences: int | None = None
    """Most training sequences of a task: the same as --ttt.max-sequences."""
    controls: bool = False
    """Also evaluate random configurations, and the last policy's edits on the untrained model."""
    export: pathlib.Path | None = None
    """Where to save the trained model as a checkpoint in the Hugging Face layout: a new or empty directory."""
    settings: Unprefixed = DEFAULTS

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(1, train_tasks=self.train_tasks, edits=self.edits, max_sequences=self.max_sequences)
        at_least(0, rounds=self.rounds, test_tasks=self.test_tasks)
        if self.test is None and self.test_solutions is not None:
            raise ValueError("--test-solutions are those of --test; give that as well, or --solutions")
        check_export(self.out, self.export)

    def __call__(self) -> Report:
        """Train the rounds, evaluate, write the table and the figure."""
        from seal_jax.runtime import Run

        tasks, test = self.sources()
        files = {"data": self.data, "solutions": tasks.answers, "test": self.test}
        files["test_solutions"] = test.answers if self.test else None
        with Run(self.out, config_of(self, **files), self.restart) as run:
            claim_export(self.out, self.export)
            return finished(run, run_files(self, run), "tasks")

    def sources(self) -> tuple[Source, Source]:
        """Where the tasks of the rounds and those of the evaluation come from."""
        tasks = Source(self.data, self.solutions, "--solutions")
        return tasks, tasks if self.test is None else Source(self.test, self.test_solutions, "--test-solutions")


def run_files(command: Arc, run: Run) -> dict[str, Any]:
    """The study on the tasks of files. Tasks that do not fit the model's context are named and left out."""
    from seal_jax.seal.arc import sizes, study
    from seal_jax.seal.arc.demo import with_limits
    from seal_jax.seal.arc.texts import Texts

    settings = with_limits(command.settings, command.edits, command.max_sequences)
    source, test_source = command.sources()
    found = source.tasks()
    held_out = found if test_source is source else test_source.tasks()
    known = answered(found, source) if command.rounds else []
    opened = open_model(command.model, command.mesh)
    config = opened.checkpoint.config
    texts = Texts(opened.tokenizer, config.max_position, settings, command.seed)
    train = fitting(known, command.train_tasks, texts, str(source.path)) if command.rounds else []
    used = {task.demos for task in train}
    others = [task for task in held_out if task.demos not in used]
    test = fitting(others, command.test_tasks, texts, str(test_source.path))
    tell_unknown(test, test_source)
    footprint = sizes.footprint(config, settings, command.dtype, sizes.longest([*train, *test], texts), opened.axes)
    announce(opened, footprint, command.dtype, command.out, settings.ttt.at_once, command.rounds, bool(command.export))
    rounds, model = [train] * command.rounds, opened.load(command.dtype)
    return study.study(run, model, rounds, test, texts, controls=command.controls, export=command.export)
