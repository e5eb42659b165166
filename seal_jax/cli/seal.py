"""`seal-jax seal edits|train|evaluate`: SEAL on passages with questions."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from seal_jax.cli import seal_files
from seal_jax.cli.options import RunOptions, at_least, file_sha256, occupied
from seal_jax.cli.report import Report, finished
from seal_jax.cli.startup import announce_seal, open_model
from seal_jax.runtime.files import read_json, to_plain, write_json
from seal_jax.seal.settings import Settings

if TYPE_CHECKING:
    from seal_jax.data.squad import Passage
    from seal_jax.runtime import Run

Unprefixed = Annotated[Settings, tyro.conf.arg(name="")]
DEFAULTS = Settings()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edits(RunOptions):
    """Write self-edits: a JSON list of passages, each with its prompt and completions, in OUT/edits.json."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    data: pathlib.Path
    """Passages: a SQuAD file, or JSON or JSON Lines of {title, context, questions}, where questions may be missing."""
    passages: int = 0
    """How many passages, drawn by --seed; 0 is all, in the order of the file."""
    settings: Unprefixed = DEFAULTS

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(0, passages=self.passages)

    def __call__(self) -> Report:
        """Write the edits; what an earlier attempt wrote is kept."""
        from seal_jax.runtime import Run

        with Run(self.out, _config(self, data=self.data), self.restart) as run:
            rows = run.stage("written", lambda: _write_edits(self, run))
            write_json(self.out / "edits.json", rows)
            texts = [text for row in rows for text in row["completions"]]
            result = {"passages": len(rows), "edits": len(texts), "empty": texts.count(""), "seconds": run.seconds}
            note = f"{len(texts)} edits ({texts.count('')} empty) are in {self.out / 'edits.json'}"
            return Report(run.finish(result), notes=[note])


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
        _check_export(self.out, self.export)

    def __call__(self) -> Report:
        """Train the rounds, evaluate, write the table and the figure."""
        from seal_jax.runtime import Run
        from seal_jax.seal import study

        with Run(self.out, _config(self, data=self.data), self.restart) as run:
            _claim_export(self.out, self.export)
            held_out = self.test or self.passages
            chosen = _passages(self.data, self.passages * self.rounds + held_out, self.seed, exactly=True)
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
    """Passages: a SQuAD file, or JSON or JSON Lines of {title, context, questions}."""
    edits: pathlib.Path | None = None
    """Passages with their edits, as `seal edits` writes them; without it the model writes them."""
    completion: int = 0
    """Which of a passage's completions in --edits counts; 0 is the first."""
    passages: int = 0
    """How many passages, drawn by --seed; 0 is all, in the order of the file."""
    settings: Unprefixed = DEFAULTS

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(0, passages=self.passages, completion=self.completion)
        if (self.data is None) == (self.edits is None):
            raise ValueError("give either --data (the model writes the edits) or --edits (they are given)")
        if self.completion and self.edits is None:
            raise ValueError("--completion chooses among the completions of --edits FILE; give that as well")

    def __call__(self) -> Report:
        """Evaluate before, after adapting to the passage alone, to the edit, and to another passage's edit."""
        from seal_jax.runtime import Run

        with Run(self.out, _config(self, data=self.data, edits=self.edits), self.restart) as run:
            chosen = _passages(self.edits or self.data, self.passages, self.seed)
            given = _given_edits(self.edits, chosen, self.completion) if self.edits else None
            return finished(run, _evaluate(self, run, chosen, given))


def _evaluate(command: Evaluate, run: Run, chosen: list[Passage], given: list[str] | None) -> dict[str, Any]:
    from seal_jax.seal import knowledge, study

    settings, seed = command.settings, command.seed
    opened = open_model(command.model, command.mesh)
    announce_seal(opened, chosen, settings, command.dtype, command.out, writing=given is None)
    model = opened.load(command.dtype)
    edits = knowledge.write(run, "edits-edits", model, chosen, settings, seed) if given is None else given
    conditions: dict[str, dict[str, Any]] = {
        "base": {"adapt": False},
        "passage_only": {"edits": [""] * len(chosen)},
        "edits": {"edits": edits},
    }
    if len(chosen) > 1:
        conditions["other_passage"] = {"edits": edits, "shift": 1}
    found = {
        name: knowledge.evaluate(run, name, model, chosen, settings, seed, **how) for name, how in conditions.items()
    }
    pairs = [("edits", "base"), ("edits", "passage_only"), ("edits", "other_passage")]
    plain = {name: {k: v for k, v in e.items() if k != "by_passage"} for name, e in found.items()}
    return {**plain, "differences": study.differences(found, pairs), "seconds": run.seconds}


def _config(command: RunOptions, **files: pathlib.Path | None) -> dict[str, Any]:
    """The settings of a run: the command's arguments, and what is in its input files."""
    return {**to_plain(command), **{f"{name}_sha256": file_sha256(path) for name, path in files.items()}}


def _check_export(out: pathlib.Path, export: pathlib.Path | None) -> None:
    """Refuse to export over anything but what this run's directory has exported before."""
    if export and occupied(export) and str(export.resolve()) not in _exported(out):
        raise ValueError(f"{export} exists and is not an empty directory; choose another --export")


def _claim_export(out: pathlib.Path, export: pathlib.Path | None) -> None:
    """Note in the run's directory where it exports to, so that the same command may go on after the export."""
    if export:
        write_json(out / "export.json", sorted({*_exported(out), str(export.resolve())}))


def _exported(out: pathlib.Path) -> list[str]:
    return read_json(out / "export.json") if (out / "export.json").exists() else []


def _passages(
    path: pathlib.Path | None, count: int, seed: int, exactly: bool = False, need_questions: bool = True
) -> list[Passage]:
    """`count` passages of a file drawn by seed, or all of them in order for 0."""
    from seal_jax.data.squad import load_squad, subset

    assert path is not None, "checked by the caller"
    found = load_squad(path, need_questions)
    if exactly and len(found) < count:
        raise ValueError(f"{path} has {len(found)} passages with questions; {count} are asked for")
    return subset(found, count, seed) if count else found


def _write_edits(command: Edits, run: Run) -> list[dict[str, Any]]:
    from seal_jax.runtime.logging import progress
    from seal_jax.seal import policy

    chosen = _passages(command.data, command.passages, command.seed, need_questions=False)
    opened = open_model(command.model, command.mesh)
    announce_seal(opened, chosen, command.settings, command.dtype, command.out, trying=False)
    model, edits = opened.load(command.dtype), command.settings.edits
    with progress("edits", len(chosen) * edits.count) as advance:
        written = policy.write_edits(model, chosen, edits, command.seed, run.items("written"), advance)
    prompts = policy.prompts(model, chosen, edits)
    return [
        {**dataclasses.asdict(passage), "prompt": prompt, "completions": texts}
        for passage, prompt, texts in zip(chosen, prompts, written)
    ]


def _given_edits(path: pathlib.Path, passages: list[Passage], number: int) -> list[str]:
    """Completion `number` of each passage, found by its text. Raises ValueError for a passage that has none."""
    from seal_jax.data.squad import read_items

    items = [item for item in read_items(path) if isinstance(item, dict)]
    known = {(item.get("title"), item.get("context")): item.get("completions") for item in items}
    return [_completion(path, p.title, known.get((p.title, p.context)), number) for p in passages]


def _completion(path: pathlib.Path, title: str, completions: Any, number: int) -> str:
    if not isinstance(completions, list) or not completions or not all(isinstance(c, str) for c in completions):
        raise ValueError(
            f"{path}: passage {title!r} has no completions; expected a list of texts, as `seal edits` writes them"
        )
    if number >= len(completions):
        raise ValueError(
            f"{path}: passage {title!r} has {len(completions)} completions, so --completion {number} is "
            f"none of them: use 0 to {len(completions) - 1}"
        )
    return completions[number]


Command = (
    Annotated[Edits, tyro.conf.subcommand("edits")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[seal_files.Sequences, tyro.conf.subcommand("sequences")]
    | Annotated[seal_files.Select, tyro.conf.subcommand("select")]
    | Annotated[seal_files.Aggregate, tyro.conf.subcommand("aggregate")]
    | Annotated[seal_files.Subset, tyro.conf.subcommand("subset")]
)
