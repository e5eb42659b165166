"""`seal-jax seal cpt|sequential`: many edits in one model, all at once or one after the other."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from seal_jax.cli.options import RunOptions, at_least, config_of
from seal_jax.cli.passages import edited_passages, given_edits
from seal_jax.cli.report import Report, ungraded
from seal_jax.cli.settings import InSequence, Pretrained
from seal_jax.cli.startup import Opened, announce, open_model
from seal_jax.seal.settings_sequential import Pretraining
from seal_jax.seal.settings_sequential import Sequential as SequentialSettings

if TYPE_CHECKING:
    from seal_jax.data.squad import Passage
    from seal_jax.runtime import Run
    from seal_jax.seal.sequential import Found

UnprefixedPretrained = Annotated[Pretrained, tyro.conf.arg(name="")]
UnprefixedInSequence = Annotated[InSequence, tyro.conf.arg(name="")]
UnprefixedSequential = Annotated[SequentialSettings, tyro.conf.arg(name="")]
SEQUENTIAL, IN_SEQUENCE = SequentialSettings(), InSequence()
PRETRAINING, PRETRAINED = Pretraining(), Pretrained()
FIGURES = ("base", "la", "op", "gain", "final_gain", "forgetting", "forgetting_last", "bwt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cpt(RunOptions):
    """Train one model on the edits of all passages, and ask all questions before and after."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    data: pathlib.Path | None = None
    """Passages: a SQuAD file, or JSON or JSON Lines of {title, context, questions}."""
    edits: pathlib.Path | None = None
    """Passages with their edits, as `seal edits` writes them; without it the model writes them. With --data the
    passages there count that have edits here."""
    completions: int = 0
    """How many of a passage's completions in --edits count; 0 is all."""
    passages: int = 0
    """How many passages, drawn by --seed; 0 is all, in the order of the file."""
    pretraining: Pretraining = PRETRAINING
    settings: UnprefixedPretrained = PRETRAINED

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(0, passages=self.passages, completions=self.completions)
        if self.data is None and self.edits is None:
            raise ValueError("give --data (the model writes the edits), --edits (they are given), or both")
        if self.completions and self.edits is None:
            raise ValueError("--completions chooses among those of --edits FILE; with --data it is --edits.count")

    def __call__(self) -> Report:
        """Train on the passages alone and on edits and passages; write the table and the figure."""
        from seal_jax.runtime import Run, plots
        from seal_jax.seal import cpt

        with Run(self.out, config_of(self, data=self.data, edits=self.edits), self.restart) as run:
            chosen = edited_passages(self.data, self.edits, self.passages, self.seed)
            opened = open_model(self.model, self.mesh)
            _announce_cpt(self, opened, chosen)
            model = opened.load(self.dtype)
            edits = _edits(self, run, model, chosen)
            found = cpt.study(run, model, chosen, edits, self.pretraining, self.settings.answering, self.seed)
            title = f"Accuracy after one fine-tune on {len(chosen)} passages"
            plots.accuracy_per_round(run.dir / "accuracy.png", found, title)
            columns = {"accuracy": "accuracy", "± stderr": "stderr", "by passage": "macro", "±": "macro_stderr"}
            columns |= {"gained": "gained", "lost": "lost", "gold loglik": "loglik"}
            names = ("base", "passage_only", "edits")
            rows = [{"condition": n, **{c: found[n][k] for c, k in columns.items() if k in found[n]}} for n in names]
            notes = [
                f"{run.dir / 'result.json'} has the questions gained and lost, {run.dir / 'accuracy.png'} the figure, "
                f"{run.dir / 'runs'} the verdicts in the reference's format",
                *ungraded(sum(found[n]["ungraded"] for n in names)),
            ]
            return Report(run.finish(found), rows, f"{title}: over questions, and over passages", notes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequential(RunOptions):
    """Edit models again and again, many sequences side by side, and ask about all passages so far after each edit."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    data: pathlib.Path
    """Passages: a SQuAD file, or JSON or JSON Lines of {title, context, questions}."""
    sequential: UnprefixedSequential = SEQUENTIAL
    settings: UnprefixedInSequence = IN_SEQUENCE

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        if self.sequential.weights == "stack" and self.settings.inner.method == "full":
            raise ValueError("--weights stack is of adapters: with --inner.method full use merged or persistent")

    def __call__(self) -> Report:
        """Run the sequences; write result.json, the figures, and the runs in the reference's format."""
        from seal_jax.data.squad import load_squad
        from seal_jax.runtime import Run
        from seal_jax.seal import sequential
        from seal_jax.seal.sequential_method import method_of

        of = self.sequential
        with Run(self.out, config_of(self, data=self.data), self.restart) as run:
            drawn = sequential.draw(load_squad(self.data), of.sequences, of.steps, of.draw, of.per_run, self.seed)
            opened = open_model(self.model, self.mesh)
            _announce_sequential(self, opened, [p for s in drawn for p in s])
            model = opened.load(self.dtype)
            found = sequential.run_sequences(run, "sequences", model, drawn, self.settings, self.seed, method_of(of))
            return _sequential_report(self, run, drawn, found)


def _sequential_report(command: Sequential, run: Run, drawn: list[list[Passage]], found: Found) -> Report:
    from seal_jax.runtime import matrix_plots
    from seal_jax.runtime.files import write_json
    from seal_jax.seal import sequential_metrics as metrics

    of, matrices = command.sequential, found.matrices
    summary = {**metrics.summary(matrices), "ungraded": found.ungraded}
    mean, stderr = metrics.mean_matrix(matrices)
    each = [{"titles": [p.title for p in of_one], "matrix": m} for of_one, m in zip(drawn, matrices, strict=True)]
    write_json(run.dir / "matrices.json", each)
    runs = [matrices[i : i + of.per_run] for i in range(0, len(matrices), of.per_run)]
    for i, members in enumerate(runs):
        write_json(run.dir / "runs" / f"run{i}.json", metrics.recorded(members, str(command.data), command.model))
    title = f"Accuracy by item and edits made, {of.weights}, {len(matrices)} sequences"
    matrix_plots.heat_maps(run.dir / "matrix.png", {of.weights: mean}, title)
    ages = {of.weights: summary["gain_by_age"]}
    matrix_plots.curves(run.dir / "gain_by_age.png", ages, "What an edit is worth as others follow")
    result = {**summary, "matrix": mean.tolist(), "matrix_stderr": stderr.tolist(), "seconds": run.seconds}
    rows = [{"figure": name, "mean": summary[name]["mean"], "± stderr": summary[name]["stderr"]} for name in FIGURES]
    rows += [
        {"figure": f"gain at age {row['age']}", "mean": row["mean"], "± stderr": row["stderr"]}
        for row in summary["gain_by_age"]
    ]
    notes = [
        f"{run.dir} has result.json, matrices.json (each sequence's), matrix.png, gain_by_age.png, and in runs/ "
        "the reference's format",
        *ungraded(found.ungraded),
    ]
    return Report(run.finish(result), rows, "Mean over sequences, ± one standard error", notes)


def _edits(command: Cpt, run: Run, model: Any, chosen: list[Passage]) -> list[list[str]]:
    from seal_jax.seal import knowledge

    if command.edits is None:
        return knowledge.write_all(run, "written", model, chosen, command.settings.edits, command.seed)
    found = given_edits(command.edits, chosen)
    most = command.completions
    for passage, completions in zip(chosen, found):
        if len(completions) < most:
            raise ValueError(
                f"{command.edits}: passage {passage.title!r} has {len(completions)} completions, fewer than the {most} "
                "of --completions"
            )
    return [completions[:most] if most else completions for completions in found]


def _announce_cpt(command: Cpt, opened: Opened, chosen: list[Passage]) -> None:
    from seal_jax.seal import sizes

    settings, config = command.settings, opened.checkpoint.config
    texts = sizes.longest(opened.tokenizer, chosen, settings)
    found = sizes.footprint(config, settings, command.dtype, texts, opened.axes)
    need, trained = sizes.pretraining(config, command.pretraining, command.dtype, texts, opened.axes)
    writing = [n for n in found.needs if n.name == "writing edits" and command.edits is None]
    # On disk: the weights of both conditions, and while one trains two checkpoints with the optimizer's moments.
    disk = found.texts + 4 * trained * (2 + 2 * 3)
    found = found._replace(needs=[*writing, need], inner_adapter=trained, texts=disk)
    announce(opened, found, command.dtype, command.out, at_once=0)


def _announce_sequential(command: Sequential, opened: Opened, chosen: list[Passage]) -> None:
    from seal_jax.seal import sizes

    settings, config = command.settings, opened.checkpoint.config
    texts = sizes.longest(opened.tokenizer, chosen, settings)
    found = sizes.footprint(config, settings, command.dtype, texts, opened.axes)
    kept = sizes.sequences(config, settings.inner, command.sequential, command.dtype, opened.axes)
    needs = [need for need in found.needs if need.name in ("writing edits", "the inner loop", "answering")]
    # On disk: two checkpoints of what a chunk of sequences hands on.
    disk = found.texts + 2 * (kept.about - kept.sure) * opened.axes["data"] * opened.axes["fsdp"]
    found = found._replace(needs=[*needs, kept], texts=disk)
    announce(opened, found, command.dtype, command.out, settings.inner.at_once)
