"""`seal-jax generate`: prompts in, continuations out."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import tyro

from seal_jax.cli.arguments import unescaped
from seal_jax.cli.kept_rows import KeptRows
from seal_jax.cli.options import Dtype, at_least, check_mesh_text, file_sha256
from seal_jax.cli.prompt_file import Asked, read_prompts
from seal_jax.cli.report import Report
from seal_jax.cli.startup import open_model

if TYPE_CHECKING:
    import numpy as np

    from seal_jax.generation import Output
    from seal_jax.models import Model

OPTIONS = (  # of `generation.generate` that have a flag of the same name
    "max_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "no_repeat_ngram_size",
    "min_new_tokens",
    "top_logprobs",
    "samples",
    "prefill_chunk",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """Continue prompts. Prints the continuations, or writes one JSON line a continuation to --out."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    prompts: pathlib.Path | None = None
    """A file of prompts: one a line, or with the ending .jsonl or .json objects {"prompt": "text"} or
    {"messages": [...]}, which may name an "adapter" of its own: a directory, relative to the
    file's, or null for none."""
    prompt: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A prompt, and the flag may be given again; with --prompts these come first."""
    chat: bool = False
    """Text prompts are what the user says: they go through the tokenizer's chat template."""
    system: str | None = None
    """With --chat, the system message before each."""
    max_new_tokens: int = 64
    """Most tokens a prompt is continued by."""
    min_new_tokens: int = 0
    """No end of text before so many."""
    temperature: float = 0.0
    """0 is greedy."""
    top_k: int | None = None
    """Sample from the k most likely tokens only."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens that has this much probability."""
    min_p: float = 0.0
    """Sample from tokens with at least this share of the likeliest one's probability."""
    repetition_penalty: float = 1.0
    """Above 1, what prompt or continuation have said becomes less likely."""
    presence_penalty: float = 0.0
    """Subtracted from the logits of what the continuation has said."""
    frequency_penalty: float = 0.0
    """Subtracted from them for each time it was said."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this size occurs twice in prompt and continuation."""
    samples: int = 1
    """Continuations of each prompt, which is read once."""
    top_logprobs: int = 0
    """With --out or --json, write the k most likely tokens beside each one chosen."""
    stop: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A string that ends a continuation and is not part of it (\\n in it is a line end, \\t a tab); the flag may be
    given again."""
    adapter: pathlib.Path | None = None
    """A LoRA adapter in the PEFT layout for the prompts that name none."""
    prefill_chunk: int | None = None
    """Tokens of a prompt read at once: bounds the memory of long prompts."""
    share_prefix: bool = False
    """Read what all prompts begin with only once."""
    batch_size: int = 32
    """Prompts continued at once."""
    out: pathlib.Path | None = None
    """Where to write the continuations, one JSON line each. Until all are there they are in OUT.part, and the same
    command goes on from that if it was stopped."""
    seed: int = 0
    """Seed of the sampling. Prompt i draws the same whatever the batch size."""
    dtype: Dtype = "float32"
    """Type of the model's weights."""
    mesh: str = ""
    """Devices to spread the prompts and the model over, such as "data=4,model=2"; empty: one device."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there. Without --out it has the continuations."""

    @property
    def resumes(self) -> bool:
        """Whether the same command goes on where this one was stopped."""
        return self.out is not None

    def __call__(self) -> Report:
        """Read, continue, write."""
        at_least(1, batch_size=self.batch_size, samples=self.samples, prefill_chunk=self.prefill_chunk)
        at_least(0, seed=self.seed)
        check_mesh_text(self.mesh)
        if self.system is not None and not self.chat:
            raise ValueError("--system is a message of a chat: give --chat too")
        if self.top_logprobs and not (self.out or self.json):
            raise ValueError("--top-logprobs is not shown in the table: give --out FILE or --json too")
        asked = [*map(Asked, self.prompt), *(read_prompts(self.prompts) if self.prompts else ())]
        if not asked:
            raise ValueError("there is nothing to continue: give --prompts FILE or --prompt TEXT")
        rows = _continued(self, asked, KeptRows(self.out, _settings(self)) if self.out else None)
        result = {
            "prompts": len(asked),
            "tokens": sum(len(row["tokens"]) for row in rows),
            "finished": sum(row["finished"] for row in rows),
            "out": self.out,
            "texts": [row["text"] for row in rows],
            **({} if self.out else {"continuations": rows}),
        }
        where = f"{len(rows)} continuations are in {self.out}"
        shown = [{"prompt": row["prompt"], "continuation": row["text"], "finished": row["finished"]} for row in rows]
        return Report(result, notes=[where]) if self.out else Report(result, shown)


def _settings(command: Command) -> dict[str, Any]:
    """What a continuation depends on, by more than rounding."""
    values = {field.name: getattr(command, field.name) for field in dataclasses.fields(command)}
    for name in ("out", "json", "mesh", "batch_size"):
        del values[name]
    return {**values, "prompts_sha256": file_sha256(command.prompts)}


class _Job(NamedTuple):
    """Prompts as tokens, the parameters, and how `generate` is to be called; ids: the adapter of each, or None."""

    encoded: list[np.ndarray]
    params: Any
    how: dict[str, Any]
    ids: list[int] | None


def _continued(command: Command, asked: list[Asked], kept: KeptRows | None) -> list[dict[str, Any]]:
    import jax

    from seal_jax import generation
    from seal_jax.runtime.logging import progress

    model = open_model(command.model, command.mesh).load(command.dtype, unrolled=True)  # as decoding has it
    job = _prepared(command, asked, model)
    rows = [*kept.rows] if kept else []
    done = len(rows) // command.samples
    with progress("generate", len(asked), done) as advance:
        for start in range(done, len(asked), command.batch_size):
            part = slice(start, start + command.batch_size)
            found = generation.generate(
                job.params,
                model.config,
                [prompt.tolist() for prompt in job.encoded[part]],
                jax.random.key(command.seed),
                tokenizer=model.tokenizer,
                row_ids=range(len(asked))[part],
                adapter_ids=job.ids and job.ids[part],
                **job.how,
            )
            new = _rows(asked[part], found, command.samples)
            rows += new
            if kept:
                kept.add(new)
            advance(len(asked[part]))
    if kept:
        kept.finish()
    return rows


def _prepared(command: Command, asked: list[Asked], model: Model) -> _Job:
    """Look at every prompt and adapter before the first is continued: a bad one must not end a long job half way."""
    from seal_jax import adapters, generation, models
    from seal_jax.generation.prompts import encode, row_limits
    from seal_jax.runtime.mesh import mesh_of
    from seal_jax.runtime.placement import shard_params

    encoded = encode([_prompt(command, a.prompt) for a in asked], model.config, model.tokenizer)
    row_limits(command.max_new_tokens, encoded, model.config)
    how: dict[str, Any] = {name: getattr(command, name) for name in OPTIONS}
    how["stop"] = [*map(unescaped, command.stop)]
    used = [command.adapter if a.adapter == "" else a.adapter for a in asked]
    folders = list(dict.fromkeys(folder for folder in used if folder is not None))
    mesh = mesh_of(model.params)
    loaded = [models.load_peft(folder, model.params, model.config) for folder in folders]
    loaded = [shard_params(adapter, mesh, model.config) for adapter in loaded] if mesh else loaded
    params, stacked, ids = model.params, None, None
    if len(loaded) == 1 and None not in used:
        params = adapters.attach(params, loaded[0])
    elif loaded:
        stacked = generation.stack_adapters(loaded)
        ids = [-1 if folder is None else folders.index(folder) for folder in used]
    params = models.unroll(params)
    how["adapters"] = stacked
    if command.share_prefix and (common := _common(encoded)):
        how["prefix"] = generation.prefill(
            params, model.config, common, prefill_chunk=command.prefill_chunk, adapters=stacked
        )
    return _Job(encoded, params, how, ids)


def _prompt(command: Command, prompt: str | list[dict[str, Any]]) -> Any:
    if not command.chat or not isinstance(prompt, str):
        return prompt
    system = [] if command.system is None else [{"role": "system", "content": command.system}]
    return [*system, {"role": "user", "content": prompt}]


def _common(encoded: Sequence[np.ndarray]) -> list[int]:
    """The tokens that all prompts begin with."""
    shortest = min(map(len, encoded))
    same = [len({int(prompt[i]) for prompt in encoded}) == 1 for i in range(shortest)]
    return encoded[0][: same.index(False) if False in same else shortest].tolist()


def _rows(asked: Sequence[Asked], found: Output, samples: int) -> list[dict[str, Any]]:
    assert found.texts is not None, "there is a tokenizer"
    rows = []
    for i, text in enumerate(found.texts):
        prompt, adapter = asked[i // samples]
        row = {"prompt": prompt, "text": text, "tokens": found.tokens[i], "logprobs": found.logprobs[i]}
        row["finished"] = found.finished[i]
        if samples > 1:
            row["sample"] = i % samples
        if adapter != "":
            row["adapter"] = adapter and str(adapter)
        if found.top_logprobs is not None:
            row["top_logprobs"] = found.top_logprobs[i]
        rows.append(row)
    return rows
