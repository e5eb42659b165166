"""`seal-jax seal edits|train|evaluate`: SEAL on passages with questions."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from seal_jax.cli import seal_arc, seal_edits, seal_files, seal_sequential
from seal_jax.cli.export import check_export, claim_export
from seal_jax.cli.options import RunOptions, at_least, config_of
from seal_jax.cli.passages import chosen_passages, edited_passages, given_edit
from seal_jax.cli.report import Report, finished
from seal_jax.cli.settings import Evaluating
from seal_jax.cli.startup import announce_seal, open_model
from seal_jax.seal.settings import Settings

if TYPE_CHECKING:
    from seal_jax.data.squad import Passage
    from seal_jax.runtime import Run

Unprefixed = Annotated[Settings, tyro.conf.arg(name="")]
UnprefixedEvaluating = Annotated[Evaluating, tyro.conf.arg(name="")]
DEFAULTS, EVALUATING = Settings(), Evaluating()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(RunOptions):
    """Train a model to write better self-edits, and compare it with the untrained one on held-out passages."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    data: pathlib.Path
    """Passages: a SQuAD file, or JSON or JSON Lines of {title, context, questions}."""
    passages: int = 50
    """Passages of a round, which no other round sees."""
    rounds: int = 2
    """Rounds of ReST-EM."""
    test: int = 0
    """Held-out passages; 0 is as many as a round has."""
    edits: int | None = None
    """Edits tried for each passage: the same as --edits.count."""
    export: pathlib.Path | None = None
    """Where to save the trained model as a checkpoint in the Hugging Face layout: a new or empty directory."""
    settings: Unprefixed = DEFAULTS

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(1, passages=self.passages, rounds=self.rounds, edits=self.edits)
        at_least(0, test=self.test)
        check_export(self.out, self.export)

    def __call__(self) -> Report:
        """Train the rounds, evaluate, write the table and the figure."""
        from seal_jax.runtime import Run
        from seal_jax.seal import study

        with Run(self.out, config_of(self, data=self.data), self.restart) as run:
            claim_export(self.out, self.export)
            held_out = self.test or self.passages
            chosen = chosen_passages(self.data, self.passages * self.rounds + held_out, self.seed)
            train = [chosen[held_out + i * self.passages :][: self.passages] for i in range(self.rounds)]
            settings = self.settings
            if self.edits is not None:
                settings = dataclasses.replace(settings, edits=dataclasses.replace(settings.edits, count=self.edits))
            opened = open_model(self.model, self.mesh)
            announce_seal(
                opened, chosen, settings, self.dtype, self.out, rounds=self.rounds, export=self.export is not None
            )
            model, test = opened.load(self.dtype), chosen[:held_out]
            return finished(run, study.study(run, model, train, test, settings, self.seed, export=self.export))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(RunOptions):
    """Adapt a model to one self-edit of each passage and ask the questions, beside no adaptation at all."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    data: pathlib.Path | None = None
    """Passages: a SQuAD file, or JSON or JSON Lines of {title, context, questions}. With --edits, only those that are
    in it by title and text; --edits alone brings its own questions."""
    edits: pathlib.Path | None = None
    """Passages with their edits, written by anyone: {title, context, completions} and anything else, as `seal edits`
    writes them; without it the model writes them."""
    completion: int = 0
    """Which of a passage's completions in --edits counts; 0 is the first."""
    passages: int = 0
    """How many passages, drawn by --seed; 0 is all, in the order of the file."""
    settings: UnprefixedEvaluating = EVALUATING

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(0, passages=self.passages, completion=self.completion)
        if self.data is None and self.edits is None:
            raise ValueError("give --data (the model writes the edits), --edits (they are given), or both")
        if self.completion and self.edits is None:
            raise ValueError("--completion chooses among the completions of --edits FILE; give that as well")

    def __call__(self) -> Report:
        """Evaluate before, after adapting to the passage alone, to the edit, and to another passage's edit."""
        from seal_jax.runtime import Run

        with Run(self.out, config_of(self, data=self.data, edits=self.edits), self.restart) as run:
            chosen = edited_passages(self.data, self.edits, self.passages, self.seed)
            given = given_edit(self.edits, chosen, self.completion) if self.edits else None
            return finished(run, _evaluate(self, run, chosen, given))


def _evaluate(command: Evaluate, run: Run, chosen: list[Passage], given: list[str] | None) -> dict[str, Any]:
    from seal_jax.seal import knowledge, study

    settings, seed = command.settings, command.seed
    opened = open_model(command.model, command.mesh)
    announce_seal(opened, chosen, settings, command.dtype, command.out, writing=given is None)
    model = opened.load(command.dtype)
    # Asked first: what is wrong with the way of asking shows before edits are written.
    found = {"base": knowledge.evaluate(run, "base", model, chosen, settings, seed, adapt=False)}
    edits = knowledge.write(run, "edits-edits", model, chosen, settings, seed) if given is None else given
    conditions: dict[str, dict[str, Any]] = {
        "passage_only": {"edits": [""] * len(chosen)},
        "edits": {"edits": edits},
    }
    if len(chosen) > 1:
        conditions["other_passage"] = {"edits": edits, "shift": 1}
    for name, how in conditions.items():
        found[name] = knowledge.evaluate(run, name, model, chosen, settings, seed, **how)
    pairs = [("edits", "base"), ("edits", "passage_only"), ("edits", "other_passage")]
    plain = {name: {k: v for k, v in e.items() if k != "by_passage"} for name, e in found.items()}
    return {**plain, "differences": study.differences(found, pairs), "seconds": run.seconds}


Command = (
    Annotated[seal_edits.Edits, tyro.conf.subcommand("edits")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[seal_sequential.Cpt, tyro.conf.subcommand("cpt")]
    | Annotated[seal_sequential.Sequential, tyro.conf.subcommand("sequential")]
    | Annotated[seal_files.Sequences, tyro.conf.subcommand("sequences")]
    | Annotated[seal_files.Select, tyro.conf.subcommand("select")]
    | Annotated[seal_files.Aggregate, tyro.conf.subcommand("aggregate")]
    | Annotated[seal_files.Subset, tyro.conf.subcommand("subset")]
    | Annotated[seal_arc.Arc, tyro.conf.subcommand("arc")]
)
