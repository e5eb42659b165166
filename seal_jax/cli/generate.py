"""`seal-jax generate`: prompts in, continuations out."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Any

import tyro

from seal_jax.cli.options import Dtype, at_least, load_with_tokenizer
from seal_jax.cli.report import Report
from seal_jax.runtime.files import dumps, write_atomic

if TYPE_CHECKING:
    from seal_jax.generation import Output


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """Continue prompts. Prints the continuations, or writes one JSON line a prompt to --out."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    prompts: pathlib.Path | None = None
    """A file of prompts: one a line, or with the ending .jsonl one {"prompt": ...} a line."""
    prompt: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A prompt, and the flag may be given again; with --prompts these come first."""
    max_new_tokens: int = 64
    """Most tokens a prompt is continued by."""
    temperature: float = 0.0
    """0 is greedy."""
    top_k: int | None = None
    """Sample from the k most likely tokens only."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens that has this much probability."""
    stop: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A string that ends a continuation and is not part of it (\\n in it is a line end, \\t a tab); the flag may be
    given again."""
    adapter: pathlib.Path | None = None
    """A LoRA adapter in the PEFT layout to put on the model."""
    batch_size: int = 32
    """Prompts continued at once."""
    out: pathlib.Path | None = None
    """Where to write the continuations, one JSON line a prompt."""
    seed: int = 0
    """Seed of the sampling. Prompt i draws the same whatever the batch size."""
    dtype: Dtype = "float32"
    """Type of the model's weights."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def __call__(self) -> Report:
        """Read, continue, write."""
        at_least(1, batch_size=self.batch_size)
        at_least(0, seed=self.seed)
        prompts = [*self.prompt, *(read_prompts(self.prompts) if self.prompts else ())]
        if not prompts:
            raise ValueError("there is nothing to continue: give --prompts FILE or --prompt TEXT")
        rows = _continued(self, prompts)
        if self.out:
            write_atomic(self.out, "".join(dumps(row) + "\n" for row in rows))
        result = {
            "prompts": len(rows),
            "tokens": sum(len(row["tokens"]) for row in rows),
            "finished": sum(row["finished"] for row in rows),
            "out": self.out,
            "texts": [row["text"] for row in rows],
        }
        where = f"{len(rows)} continuations are in {self.out}"
        shown = [{"prompt": row["prompt"], "continuation": row["text"], "finished": row["finished"]} for row in rows]
        return Report(result, notes=[where]) if self.out else Report(result, shown)


def read_prompts(path: pathlib.Path) -> list[str]:
    """The prompts of a text file (one a line) or a .jsonl file (`{"prompt": str}` a line); blank lines are left out.

    Raises ValueError naming file and line for a line that is not UTF-8 or not such an object, or if there is none.
    """
    prompts = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        where = f"{path} line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where} is not UTF-8: byte 0x{line[error.start]:02x} at column {error.start}") from None
        if text.strip():
            prompts.append(_prompt_of(text, where) if path.suffix == ".jsonl" else text)
    if not prompts:
        raise ValueError(f"{path} has no prompts in it")
    return prompts


def _prompt_of(text: str, where: str) -> str:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise ValueError(f'{where}: expected {{"prompt": "text"}}, found {text[:80]}')
    return row["prompt"]


def _continued(command: Command, prompts: list[str]) -> list[dict[str, Any]]:
    import jax

    from seal_jax import adapters, generation, models
    from seal_jax.generation.prompts import encode, row_limits
    from seal_jax.runtime.logging import progress

    model = load_with_tokenizer(command.model, command.dtype)
    params = model.params
    if command.adapter:
        params = adapters.attach(params, models.load_peft(command.adapter, params, model.config))
    # Every prompt is looked at before the first is continued: a bad one must not end a long job half way.
    row_limits(command.max_new_tokens, encode(prompts, model.config, model.tokenizer), model.config)
    params = models.unroll(params)
    rows: list[dict[str, Any]] = []
    with progress("generate", len(prompts)) as advance:
        for start in range(0, len(prompts), command.batch_size):
            batch = prompts[start : start + command.batch_size]
            found = generation.generate(
                params,
                model.config,
                batch,
                jax.random.key(command.seed),
                max_new_tokens=command.max_new_tokens,
                temperature=command.temperature,
                top_k=command.top_k,
                top_p=command.top_p,
                stop=[text.replace("\\n", "\n").replace("\\t", "\t") for text in command.stop],
                tokenizer=model.tokenizer,
                row_ids=range(start, start + len(batch)),
            )
            rows += _rows(batch, found)
            advance(len(batch))
    return rows


def _rows(prompts: list[str], found: Output) -> list[dict[str, Any]]:
    assert found.texts is not None, "there is a tokenizer"
    columns = zip(prompts, found.texts, found.tokens, found.logprobs, found.finished)
    return [{"prompt": p, "text": t, "tokens": k, "logprobs": g, "finished": f} for p, t, k, g, f in columns]
