"""`seal-jax continual run`: a stream of tasks learned by an adapter, every task scored after each."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from seal_jax.cli.continual_files import by_task_lines, figure_row
from seal_jax.cli.options import RunOptions, at_least, config_of
from seal_jax.cli.report import Report
from seal_jax.cli.startup import device_text, open_model
from seal_jax.continual.strategies import Strategy

if TYPE_CHECKING:
    from seal_jax.continual.task_stream import Task
    from seal_jax.models import Model
    from seal_jax.runtime import Run as RunDirectory

UnprefixedStrategy = Annotated[Strategy, tyro.conf.arg(name="")]
STRATEGY = Strategy()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(RunOptions):
    """Learn a stream of tasks with a LoRA adapter, one task after the other, and score every task after each."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    data: pathlib.Path
    """The directory of the tasks."""
    layout: Literal["cl_benchmark", "trace"] = "cl_benchmark"
    """FAMILY/DATASET/{train,dev,test,labels}.json of O-LoRA, or TASK/{train,eval,test}.json of TRACE."""
    order: tuple[str, ...] = ()
    """The tasks in the order they are learned; by default dbpedia amazon agnews SST-2, or TRACE's eight."""
    carved: tuple[str, ...] = ()
    """Data sets without train.json, whose training examples are taken out of their test set."""
    train: int = 0
    """Training examples of a task, its first ones; 0 is all."""
    test: int = 0
    """Examples of a task that are scored, its first ones; 0 is all."""
    split: Literal["test", "validation"] = "test"
    """Which examples are scored; validation to choose settings on."""
    scoring: Literal["rank", "generate"] = "rank"
    """Is the likeliest label right, or the greedy answer; tasks without labels are always answered."""
    epochs: int = 1
    """Passes over each task; TRACE's tasks have their own."""
    batch_size: int = 8
    """New rows of a step."""
    accumulate: int = 1
    """Parts of a step whose gradients are summed, in the memory of one."""
    importance_rows: int = 256
    """Examples of a task that importances are estimated from at most."""
    max_prompt: int = 512
    """Most tokens of a prompt; a longer one loses its middle."""
    max_answer: int = 64
    """Most tokens of an answer."""
    score_rows: int = 64
    """Sequences at once when scoring."""
    checkpoint_steps: int = 100
    """Steps between checkpoints; there is one at each task's end as well."""
    strategy: UnprefixedStrategy = STRATEGY

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(0, train=self.train, test=self.test)
        at_least(
            1, epochs=self.epochs, batch_size=self.batch_size, accumulate=self.accumulate, score_rows=self.score_rows
        )
        at_least(1, importance_rows=self.importance_rows, checkpoint_steps=self.checkpoint_steps)
        at_least(2, max_prompt=self.max_prompt, max_answer=self.max_answer)
        if self.accumulate > 1 and self.batch_size % self.accumulate:
            raise ValueError(f"--accumulate {self.accumulate} does not divide --batch-size {self.batch_size}")
        if self.accumulate > 1 and self.strategy.strategy == "der":
            raise ValueError(f"--accumulate {self.accumulate}: der averages over the whole step; use 1")

    def __call__(self) -> Report:
        """Load, learn, score, write result.json, the figure and the adapter."""
        from seal_jax.data.streams import manifest
        from seal_jax.runtime import Run as RunDirectory

        files = manifest(self.data) if self.data.is_dir() else {}
        with RunDirectory(self.out, {**config_of(self), "data_sha256": files}, self.restart) as run:
            return _report(run, _learn(self, run))


def _learn(command: Run, run: RunDirectory) -> dict[str, Any]:
    import sys

    from seal_jax import models

    opened = open_model(command.model, command.mesh)
    tasks = _tasks(command, opened.tokenizer)
    model = opened.load(command.dtype)
    model = model._replace(params=models.unroll(model.params))
    rows = sum(len(task.train["tokens"]) for task in tasks)
    length = tasks[0].train["tokens"].shape[1]
    said = f"{len(tasks)} tasks, {rows:,} training rows of {length} tokens; {device_text(opened.axes)}"
    print(f"stream: {said}", file=sys.stderr, flush=True)
    return _streamed(command, run, model, tasks)


def _tasks(command: Run, tokenizer: Any) -> list[Task]:
    """The stream, tokenised and cut as asked."""
    from seal_jax.continual.text_tasks import tokenized
    from seal_jax.data import streams

    if command.layout == "trace":
        found = streams.load_trace(command.data, command.order or tuple(streams.TRACE_TASKS))
    else:
        order = command.order or streams.ORDERS["topic-sentiment"]
        found = streams.load_cl_benchmark(command.data, order, carved=command.carved)
    cut = {"train": command.train, command.split: command.test}
    lengths = {"max_prompt": command.max_prompt, "max_answer": command.max_answer}
    return tokenized([task.cut(**cut) for task in found], tokenizer, **lengths, split=command.split)


def _streamed(command: Run, run: RunDirectory, model: Model, tasks: list[Task]) -> dict[str, Any]:
    from seal_jax.continual import stream_study
    from seal_jax.continual.task_stream import Settings

    settings = Settings(
        batch_size=command.batch_size,
        epochs=command.epochs,
        seed=command.seed,
        importance_rows=command.importance_rows,
        accumulate=command.accumulate,
        every=command.checkpoint_steps,
    )
    scoring: Any = {"how": command.scoring, "rows": command.score_rows, "max_new_tokens": command.max_answer}
    return stream_study.study(run, model, tasks, command.strategy, settings, scoring)


def _report(run: RunDirectory, found: dict[str, Any]) -> Report:
    from seal_jax.runtime import matrix_plots

    result = run.finish(found)
    notes = [f"written: {run.dir / 'result.json'}, {run.dir / 'adapter'}"]
    if "joint" in found:
        rows = [{"task": name, "score": score} for name, score in zip(found["tasks"], found["joint"], strict=True)]
        return Report(result, rows, f"All tasks at once; mean {found['metrics']['op']:.4g}", notes)
    rows = [
        figure_row(name, {"value": value, "low": found["intervals"][name][1], "high": found["intervals"][name][2]})
        for name, value in found["metrics"].items()
    ]
    scores = [found["baseline"], *found["matrix"]]
    matrix_plots.heat_maps(run.dir / "matrix.png", {found["strategy"]: scores}, "Scores after each task")
    notes += by_task_lines(found["tasks"], found["by_task"])
    title = f"{found['strategy']} on {len(found['tasks'])} tasks, with 95 % intervals over test examples"
    return Report(result, rows, title, notes)
