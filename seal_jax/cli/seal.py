"""`seal-jax seal edits|train|evaluate`: SEAL on passages with questions."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from seal_jax.cli.options import RunOptions
from seal_jax.cli.report import Report, finished
from seal_jax.runtime.files import write_json
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
    """Passages: a SQuAD file, or JSON or JSON Lines of {title, context, questions}."""
    passages: int = 0
    """How many passages, drawn by --seed; 0 is all, in the order of the file."""
    settings: Unprefixed = DEFAULTS

    def __call__(self) -> Report:
        """Write the edits; what an earlier attempt wrote is kept."""
        from seal_jax.runtime import Run

        with Run(self.out, self, self.restart) as run:
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
    """Where to save the trained model as a checkpoint in the Hugging Face layout."""
    settings: Unprefixed = DEFAULTS

    def __call__(self) -> Report:
        """Train the rounds, evaluate, write the table and the figure."""
        from seal_jax import models
        from seal_jax.runtime import Run
        from seal_jax.seal import study

        with Run(self.out, self, self.restart) as run:
            held_out = self.test or self.passages
            chosen = _passages(self.data, self.passages * self.rounds + held_out, self.seed, exactly=True)
            train = [chosen[held_out + i * self.passages :][: self.passages] for i in range(self.rounds)]
            model = models.from_pretrained(self.model, dtype=self.dtype)
            settings = self.settings
            if self.edits is not None:
                settings = dataclasses.replace(settings, edits=dataclasses.replace(settings.edits, count=self.edits))
            return finished(
                run, study.study(run, model, train, chosen[:held_out], settings, self.seed, export=self.export)
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(RunOptions):
    """Adapt a model to one self-edit of each passage and ask the questions, beside no adaptation at all."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    data: pathlib.Path | None = None
    """Passages: a SQuAD file, or JSON or JSON Lines of {title, context, questions}."""
    edits: pathlib.Path | None = None
    """Passages with their edits, as `seal edits` writes them (the first completion counts); without it the model
    writes them."""
    passages: int = 0
    """How many passages, drawn by --seed; 0 is all, in the order of the file."""
    settings: Unprefixed = DEFAULTS

    def __call__(self) -> Report:
        """Evaluate before, after adapting to the passage alone, and after adapting to the edit."""
        from seal_jax import models
        from seal_jax.runtime import Run
        from seal_jax.seal import knowledge

        if (self.data is None) == (self.edits is None):
            raise ValueError("give either --data (the model writes the edits) or --edits (they are given)")
        with Run(self.out, self, self.restart) as run:
            chosen = _passages(self.edits or self.data, self.passages, self.seed)
            given = _given_edits(self.edits, chosen) if self.edits else None
            model = models.from_pretrained(self.model, dtype=self.dtype)
            found: dict[str, Any] = {}
            for name, how in {"base": {"adapt": False}, "passage_only": {"edits": [""] * len(chosen)}}.items():
                found[name] = knowledge.evaluate(run, name, model, chosen, self.settings, self.seed, **how)
            found["edits"] = knowledge.evaluate(run, "edits", model, chosen, self.settings, self.seed, edits=given)
            plain = {name: {k: v for k, v in e.items() if k != "by_passage"} for name, e in found.items()}
            return finished(run, {**plain, "seconds": run.seconds})


def _passages(path: pathlib.Path | None, count: int, seed: int, exactly: bool = False) -> list[Passage]:
    """`count` passages of a file drawn by seed, or all of them in order for 0."""
    from seal_jax.data.squad import load_squad, subset

    assert path is not None, "checked by the caller"
    found = load_squad(path)
    if count < 0 or (exactly and len(found) < count):
        raise ValueError(f"{path} has {len(found)} passages with questions; {count} are asked for")
    return subset(found, count, seed) if count else found


def _write_edits(command: Edits, run: Run) -> list[dict[str, Any]]:
    from seal_jax import models
    from seal_jax.runtime.logging import progress
    from seal_jax.seal import policy

    chosen = _passages(command.data, command.passages, command.seed)
    model = models.from_pretrained(command.model, dtype=command.dtype)
    edits = command.settings.edits
    with progress("edits", len(chosen) * edits.count) as advance:
        written = policy.write_edits(model, chosen, edits, command.seed, run.items("written"), advance)
    prompts = policy.prompts(model, chosen, edits)
    return [
        {**dataclasses.asdict(passage), "prompt": prompt, "completions": texts}
        for passage, prompt, texts in zip(chosen, prompts, written)
    ]


def _given_edits(path: pathlib.Path, passages: list[Passage]) -> list[str]:
    """The first completion of each passage, found by its text. Raises ValueError for one that has none."""
    from seal_jax.data.squad import read_items

    known = {(item["title"], item["context"]): item.get("completions") for item in read_items(path)}
    edits = []
    for passage in passages:
        completions = known.get((passage.title, passage.context))
        if not isinstance(completions, list) or not completions or not isinstance(completions[0], str):
            raise ValueError(f"{path}: passage {passage.title!r} has no completions; expected a list of texts")
        edits.append(completions[0])
    return edits


Command = (
    Annotated[Edits, tyro.conf.subcommand("edits")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
)
