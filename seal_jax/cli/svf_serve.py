"""`seal-jax svf serve-batch`: prompts that name an expert each, answered in batches that hold all of them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tyro

from seal_jax.cli.arguments import unescaped
from seal_jax.cli.options import Dtype, at_least, check_mesh_text
from seal_jax.cli.prompt_file import Asked, read_prompts
from seal_jax.cli.report import Report
from seal_jax.cli.startup import open_model
from seal_jax.cli.svf_options import ExpertPaths, Ready, expert_files, loaded
from seal_jax.runtime.files import dumps, write_atomic

if TYPE_CHECKING:
    from seal_jax.transformer2.expert_bank import ExpertBank


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeBatch:
    """Continue prompts, each under the expert that its line names, in one program. Writes one JSON line a prompt."""

    model: str
    """A local directory in the Hugging Face layout, or a hub name."""
    experts: ExpertPaths
    """Expert files, and directories of them; an expert's name is its file's without the ending."""
    prompts: pathlib.Path
    """A .jsonl file: one {"prompt": "text"} or {"messages": [...]} a line, and "expert": NAME, or null for the base
    model, which is also what a line without it gets unless --choose is given."""
    out: pathlib.Path | None = None
    """Where to write the answers, one JSON line each; without it they are shown."""
    choose: bool = False
    """The model itself chooses the expert of a prompt that names none, in a first pass."""
    labels: tuple[str, ...] = ()
    """With --choose, what it may choose, as NAME or "NAME=criterion"; by default all experts."""
    sort_template: str = "classify"
    """With --choose, the prompt that asks for it: a name, or a file."""
    chat: bool = False
    """Text prompts, and that of --choose, go through the tokenizer's chat template."""
    max_new_tokens: int = 64
    """Most tokens a prompt is continued by."""
    temperature: float = 0.0
    """0 is greedy."""
    stop: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A string that ends a continuation and is not part of it (\\n in it is a line end, \\t a tab); the flag may be
    given again."""
    batch_size: int = 32
    """Prompts continued at once."""
    factors: pathlib.Path | None = None
    """A directory in which the singular value decomposition of the model's matrices is kept, and found again."""
    allow_transfer: bool = False
    """Use experts of another base model where layers and singular values are as many."""
    seed: int = 0
    """Seed of the sampling. Prompt i draws the same whatever the batch size."""
    dtype: Dtype = "float32"
    """Type of the model's weights."""
    mesh: str = ""
    """Devices to spread the prompts and the model over, such as "data=4,model=2"; empty: one device."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there. Without --out it has the answers."""

    def check(self) -> None:
        """Raise ValueError for an argument out of its range, or without effect."""
        at_least(1, batch_size=self.batch_size, max_new_tokens=self.max_new_tokens)
        at_least(0, seed=self.seed)
        check_mesh_text(self.mesh)
        if self.labels and not self.choose:
            raise ValueError("--labels are what --choose chooses among: give that too")

    def __call__(self) -> Report:
        """Read, choose, continue, write."""
        asked = read_prompts(self.prompts, "expert")
        files = expert_files(self.experts)
        for number, one in enumerate(asked):
            if one.adapter and one.adapter not in files:
                names = ", ".join(files)
                raise ValueError(
                    f"{self.prompts}: prompt {number} asks for the expert {one.adapter!r}; there are {names}"
                )
        ready = loaded(open_model(self.model, self.mesh).load(self.dtype), files, self.factors, self.allow_transfer)
        rows = _served(self, asked, ready, ready.bank(list(files)))
        if self.out:
            write_atomic(self.out, "".join(dumps(row) + "\n" for row in rows))
        used = [row["expert"] for row in rows]
        counts = {name or "base": used.count(name) for name in dict.fromkeys(used)}
        result = {"prompts": len(rows), "experts": counts, "out": self.out, **({} if self.out else {"answers": rows})}
        if self.out:
            return Report(result, notes=[f"{len(rows)} answers are in {self.out}"])
        return Report(result, [{**row, "expert": row["expert"] or "base"} for row in rows])


def _served(command: ServeBatch, asked: Sequence[Asked], ready: Ready, bank: ExpertBank) -> list[dict[str, Any]]:
    import jax

    from seal_jax.runtime.logging import progress
    from seal_jax.transformer2.serve import serve_batch

    prompts = [_prompt(command, one.prompt) for one in asked]
    which = _chosen(command, asked, ready, bank, prompts)
    stop = [*map(unescaped, command.stop)]
    rows: list[dict[str, Any]] = []
    with progress("serve", len(asked)) as advance:
        for start in range(0, len(asked), command.batch_size):
            part = slice(start, start + command.batch_size)
            found = serve_batch(
                ready.model,
                bank,
                prompts[part],
                which[part],
                max_new_tokens=command.max_new_tokens,
                temperature=command.temperature,
                key=jax.random.key(command.seed),
                row_ids=range(len(asked))[part],
                stop=stop,
            )
            assert found.texts is not None, "there is a tokenizer"
            for one, name, text, ended in zip(asked[part], which[part], found.texts, found.finished):
                rows.append({"prompt": one.prompt, "expert": name, "text": text, "finished": ended})
            advance(len(prompts[part]))
    return rows


def _prompt(command: ServeBatch, prompt: Any) -> Any:
    return [{"role": "user", "content": prompt}] if command.chat and isinstance(prompt, str) else prompt


def _chosen(
    command: ServeBatch, asked: Sequence[Asked], ready: Ready, bank: ExpertBank, prompts: Sequence[Any]
) -> list[str | None]:
    """The expert of each prompt: what its line names, or else what the model chooses, or the base."""
    named = [str(one.adapter) if one.adapter else None for one in asked]
    if not command.choose:
        return named
    from seal_jax.cli.svf_evaluate import criterion
    from seal_jax.transformer2.classify import Classifier
    from seal_jax.transformer2.serve import choose

    criteria = dict(map(criterion, command.labels)) or dict.fromkeys(bank.names, "")
    unnamed = [row for row, one in enumerate(asked) if one.adapter == ""]
    classifier = Classifier(criteria, command.sort_template, chat=command.chat)
    for row, name in zip(unnamed, choose(ready.model, bank, [prompts[row] for row in unnamed], classifier)):
        named[row] = name
    return named
