"""`seal-jax convert`: rewrite a checkpoint or an adapter."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Any, Literal

import tyro

from seal_jax.cli.options import Dtype, occupied
from seal_jax.cli.report import Report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """Rewrite a checkpoint in another dtype, with an adapter merged into it, or write the adapter alone.

    `convert SRC DST` rewrites the model; `--adapter DIR --merge` merges the adapter into it; `--adapter DIR --to peft`
    checks the adapter against the model SRC and writes the adapter to DST.
    """

    src: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """The model: a local directory in the Hugging Face layout, or a hub name."""
    dst: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="DST")]
    """The directory to write, which is to be new or empty."""
    adapter: pathlib.Path | None = None
    """A LoRA adapter in the PEFT layout."""
    merge: bool = False
    """Merge --adapter into the weights."""
    dtype: Dtype = "float32"
    """Type of the numbers written."""
    to: Literal["hf", "peft"] = "hf"
    """What to write: the model ("hf") or the adapter ("peft")."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def __call__(self) -> Report:
        """Check the request, then read and write."""
        _check(self)
        count = _write_adapter(self) if self.to == "peft" else _write_model(self)
        result = {"out": self.dst, "to": self.to, "dtype": self.dtype, "merged": self.merge, "parameters": count}
        what = "adapter" if self.to == "peft" else "model"
        return Report(result, notes=[f"{what} of {count:,} numbers in {self.dtype} written to {self.dst}"])


def _check(command: Command) -> None:
    if command.to == "peft" and (command.adapter is None or command.merge):
        raise ValueError("--to peft writes an adapter: it takes --adapter DIR and no --merge")
    if command.to == "hf" and command.merge != (command.adapter is not None):
        raise ValueError("a model in the HF layout holds no adapter apart: give --adapter DIR and --merge together")
    if occupied(command.dst):
        raise ValueError(f"{command.dst} exists and is not an empty directory; choose another DST")


def _write_model(command: Command) -> int:
    import jax

    from seal_jax import adapters, models

    # An adapter is merged in float32 and only the result is rounded.
    model = models.from_pretrained(command.src, dtype="float32" if command.merge else command.dtype)
    params = model.params
    if command.adapter:
        adapter = models.load_peft(command.adapter, params, model.config)
        merged = adapters.materialize(adapters.attach(params, adapter))
        params = jax.tree.map(lambda x: x.astype(command.dtype), merged)
    models.save_pretrained(command.dst, model.config, params, model.tokenizer)
    return _count(params)


def _write_adapter(command: Command) -> int:
    from seal_jax import models

    assert command.adapter is not None, "checked before"
    model = models.from_pretrained(command.src, dtype="bfloat16")  # only its shapes matter here
    adapter = models.load_peft(command.adapter, model.params, model.config)
    # The scale stays exact: it is written as lora_alpha, not as a tensor.
    rounded = {
        path: {name: x if name == "scale" else x.astype(command.dtype) for name, x in entry.items()}
        for path, entry in adapter.items()
    }
    models.save_peft(command.dst, rounded, model.config)
    return sum(entry["a"].size + entry["b"].size for entry in rounded.values())


def _count(params: Any) -> int:
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(params))
