"""`seal-jax seal edits`: self-edits of passages, from a checkpoint or from a served model."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from seal_jax.cli.options import RunOptions, at_least, config_of
from seal_jax.cli.passages import chosen_passages
from seal_jax.cli.report import Report
from seal_jax.cli.settings import Writing
from seal_jax.cli.startup import announce_seal, open_model
from seal_jax.evaluation.endpoint import Endpoint
from seal_jax.runtime.files import write_json

if TYPE_CHECKING:
    from seal_jax.data.squad import Passage
    from seal_jax.runtime import Run

DEFAULTS = Writing()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edits(RunOptions):
    """Write self-edits: a JSON list of passages, each with its prompt and completions, in OUT/edits.json, and how they
    were written in OUT/edits.json.meta."""

    model: str = ""
    """A local directory in the Hugging Face layout, or a hub name."""
    data: pathlib.Path
    """Passages: a SQuAD file, or JSON or JSON Lines of {title, context, questions}, where questions may be missing."""
    passages: int = 0
    """How many passages, drawn by --seed; 0 is all, in the order of the file."""
    endpoint: str = ""
    """Base URL of an OpenAI-compatible server that writes the edits instead, such as https://api.openai.com/v1."""
    endpoint_model: str = ""
    """The name of the model there; by default --model."""
    endpoint_key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the server's key, if it wants one."""
    endpoint_concurrency: int = 8
    """Requests under way at once."""
    endpoint_timeout: float = 600.0
    """Seconds after which a request has failed."""
    endpoint_retries: int = 5
    """How often a failed request is sent again."""
    settings: Annotated[Writing, tyro.conf.arg(name="")] = DEFAULTS

    def check(self) -> None:
        """As `RunOptions.check`."""
        super().check()
        at_least(0, passages=self.passages)
        if not self.endpoint and (self.endpoint_model or not self.model):
            raise ValueError("give --model, the checkpoint that writes, or --endpoint URL and --endpoint-model NAME")
        if self.endpoint and not self.served.model:
            raise ValueError("--endpoint needs --endpoint-model, the name of the model there")

    @property
    def served(self) -> Endpoint:
        """The served model; ValueError for a URL that is none or a number out of its range."""
        return Endpoint(
            url=self.endpoint,
            model=self.endpoint_model or self.model,
            key_variable=self.endpoint_key_variable,
            concurrency=self.endpoint_concurrency,
            timeout=self.endpoint_timeout,
            retries=self.endpoint_retries,
        )

    def __call__(self) -> Report:
        """Write the edits; what an earlier attempt wrote is kept."""
        from seal_jax.runtime import Run

        with Run(self.out, config_of(self, data=self.data), self.restart) as run:
            chosen = chosen_passages(self.data, self.passages, self.seed, need_questions=False)
            rows = run.stage("written", lambda: _written(self, run, chosen))
            write_json(self.out / "edits.json", rows)
            write_json(self.out / "edits.json.meta", _meta(self, run, len(chosen)))
            texts = [text for row in rows for text in row["completions"]]
            seconds = {"written": run.seconds["written"]}
            result = {"passages": len(rows), "edits": len(texts), "empty": texts.count(""), "seconds": seconds}
            note = f"{len(texts)} edits ({texts.count('')} empty) are in {self.out / 'edits.json'}"
            return Report(run.finish(result), notes=[note])


def _written(command: Edits, run: Run, chosen: list[Passage]) -> list[dict[str, Any]]:
    prompts, written = (_served if command.endpoint else _by_checkpoint)(command, run, chosen)
    return [
        {**dataclasses.asdict(passage), "completions": texts, "prompt": prompt}
        for passage, prompt, texts in zip(chosen, prompts, written)
    ]


def _by_checkpoint(command: Edits, run: Run, chosen: list[Passage]) -> tuple[list[str], list[list[str]]]:
    from seal_jax.runtime.logging import progress
    from seal_jax.seal import policy

    opened = open_model(command.model, command.mesh)
    announce_seal(opened, chosen, command.settings, command.dtype, command.out, trying=False)
    model, edits = opened.load(command.dtype), command.settings.edits
    with progress("edits", len(chosen) * edits.count) as advance:
        written = policy.write_edits(model, chosen, edits, command.seed, run.items("written"), advance)
    return policy.prompts(model, chosen, edits), written


def _served(command: Edits, run: Run, chosen: list[Passage]) -> tuple[list[str], list[list[str]]]:
    from seal_jax.runtime.logging import progress
    from seal_jax.seal import served

    endpoint, edits = command.served, command.settings.edits
    print(f"endpoint: {endpoint.address}, model {endpoint.model}, {len(chosen) * edits.count} edits", file=sys.stderr)
    turns = [served.prompt_turns(passage, edits) for passage in chosen]
    with progress("edits", len(chosen) * edits.count) as advance:
        written = served.write_edits(endpoint, chosen, edits, run.items("written"), advance)
    return ["\n\n".join(filter(None, asked)) for asked in turns], written


def _meta(command: Edits, run: Run, count: int) -> dict[str, Any]:
    """How the edits were written: the keys of the released `.meta` files, and what those leave out."""
    edits = command.settings.edits
    return {
        "model": command.served.model if command.endpoint else command.model,
        "dataset_in": str(command.data),
        "dataset_out": str(command.out / "edits.json"),
        "temperature": edits.temperature,
        "top_p": edits.top_p,
        "max_tokens": edits.max_new_tokens,
        "n": count,
        "k": edits.count,
        "timestamp": run.stage("written-at", lambda: datetime.datetime.now(datetime.UTC).isoformat()),
        "prompt_key": edits.kind,
        "chat": edits.chat,
        "seed": command.seed,
        "endpoint": command.endpoint or None,
    }
