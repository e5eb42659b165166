"""`seal-jax convert`: rewrite a checkpoint or adapters."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Annotated, Any, Literal

import tyro

from seal_jax.cli.options import occupied
from seal_jax.cli.report import Report

CONFIG = "adapter_config.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """Rewrite a checkpoint in another dtype, merge adapters into it, or rewrite the adapters.

    `convert SRC DST` rewrites the model. `--adapter DIR --merge` merges an adapter into it, several in their order.
    `--adapter DIR --to peft` checks the adapter against the model SRC and writes it to DST in our form, `--to vllm` in
    the one that vLLM reads. With several adapters, or a DIR with one adapter in each subdirectory, DST has a
    subdirectory for each.
    """

    src: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """The model: a local directory in the Hugging Face layout, or a hub name."""
    dst: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="DST")]
    """The directory to write, which is to be new or empty."""
    adapter: tyro.conf.UseAppendAction[tuple[pathlib.Path, ...]] = ()
    """A LoRA adapter in the PEFT layout, or a directory of them. Repeat it for several."""
    merge: bool = False
    """Merge every --adapter into the weights, in the order given."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the numbers written."""
    to: Literal["hf", "peft", "vllm"] = "hf"
    """What to write: the model ("hf"), or adapters in the PEFT layout ("peft") or in the form for vLLM ("vllm")."""
    base_model: str | None = None
    """The base model's name to write into adapters; by default the one they have. vLLM's folder resolver takes an
    adapter only under the name that it serves."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def check(self) -> None:
        """Raise ValueError for arguments that do not go together, a DST that is not empty, or no such adapter."""
        if self.to != "hf" and (not self.adapter or self.merge):
            raise ValueError(f"--to {self.to} writes adapters: it takes --adapter DIR and no --merge")
        if self.to == "hf" and self.merge != bool(self.adapter):
            raise ValueError("a model in the HF layout holds no adapter apart: give --adapter DIR and --merge together")
        if self.to == "hf" and self.base_model is not None:
            raise ValueError("--base-model is written into adapters: it goes with --to peft or --to vllm")
        if occupied(self.dst):
            raise ValueError(f"{self.dst} exists and is not an empty directory; choose another DST")
        for path in self.adapter:
            if path.is_file():
                raise ValueError(
                    f"{path} is a file: --adapter takes a LoRA adapter in the PEFT layout, a directory. An expert that "
                    "`svf train` wrote is merged in Python (docs/checkpoints.md)"
                )
            if path.is_dir() and self.dst.resolve().is_relative_to(path.resolve()):
                raise ValueError(f"DST {self.dst} is inside of --adapter {path}; choose another DST")

    def __call__(self) -> Report:
        """Read and write."""
        count, names = _write_model(self) if self.to == "hf" else _write_adapters(self)
        result = {
            "out": self.dst,
            "to": self.to,
            "dtype": self.dtype,
            "merged": self.merge,
            "adapters": names,
            "parameters": count,
        }
        return Report(result, notes=[_told(self, count, names)])


def _told(command: Command, count: int, names: list[str]) -> str:
    size = f"{count:,} numbers in {command.dtype} written to {command.dst}"
    if command.to == "hf":
        merged = f", with {', then '.join(names)} merged into it" if names else ""
        return f"model of {size}{merged}"
    form = "the PEFT layout" if command.to == "peft" else "the form for vLLM"
    what = "adapter" if len(names) == 1 else f"{len(names)} adapters ({', '.join(names)})"
    return f"{what} of {size} in {form}"


def _write_model(command: Command) -> tuple[int, list[str]]:
    from seal_jax import models

    for path in command.adapter:
        if path.is_dir() and not (path / CONFIG).is_file():
            raise ValueError(f"{path} has no {CONFIG}; --merge takes one adapter at each --adapter, in their order")
    count = models.merge_checkpoint(command.src, command.dst, command.adapter, command.dtype)
    return count, [str(path) for path in command.adapter]


def _write_adapters(command: Command) -> tuple[int, list[str]]:
    """Check every adapter, then write them: to DST itself where one was named, else to a subdirectory each."""
    from seal_jax import models
    from seal_jax.models.hf import open_checkpoint
    from seal_jax.models.merge import base_reader
    from seal_jax.models.peft import read_adapter

    found = _adapter_paths(command.adapter)
    source = open_checkpoint(command.src)
    count = 0
    for dry in (True, False):  # an adapter that is refused leaves nothing behind
        for name, path in found.items():
            adapter = read_adapter(path, source.config, base_reader(source))
            if dry:
                count += sum(entry["a"].size + entry["b"].size for entry in adapter.values())
                continue
            target = command.dst if list(found) == [""] else command.dst / name
            base = command.base_model or _base_model(path)
            layout: Any = command.to
            models.save_peft(target, adapter, source.config, layout=layout, dtype=command.dtype, base_model=base)
    return count, [name or str(command.adapter[0]) for name in found]


def _adapter_paths(given: tuple[pathlib.Path, ...]) -> dict[str, pathlib.Path]:
    """`{name: adapter}`; the name is empty where one adapter was named itself."""
    from seal_jax.models.peft import adapter_folders

    if len(given) == 1 and (not given[0].is_dir() or (given[0] / CONFIG).is_file()):
        return {"": given[0]}
    every = [p for path in given for p in ([path] if (path / CONFIG).is_file() else adapter_folders(path))]
    found: dict[str, pathlib.Path] = {}
    for path in every:
        name = path.resolve().name
        if name in found:
            raise ValueError(f"{found[name]} and {path} would both be written to {name}; rename one of them")
        found[name] = path
    return found


def _base_model(path: pathlib.Path) -> str | None:
    """The base model's name in an adapter that has been read; None in one from the hub, or without."""
    if not (path / CONFIG).is_file():
        return None
    name = json.loads((path / CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    return name if isinstance(name, str) else None
