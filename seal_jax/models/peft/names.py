"""Tensor names of adapters: from what PEFT and its users write to the modules of the model, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from seal_jax.models.config import Config
from seal_jax.models.errors import CheckpointError
from seal_jax.models.families import family_of
from seal_jax.models.layout import Leaf

PREFIX = "base_model.model."
SIDES = ("A", "B")
# Modules that torch puts around others (compilation, FSDP, recomputation); they are not part of a name.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.weight")
# Parts of the names of tensors that are not LoRA factors of a linear module, and what they are.
_OTHER = {
    ".lora_embedding_": "adapts an embedding",
    ".lora_magnitude_vector": "is DoRA's magnitude",
    ".modules_to_save.": "is of a module that was trained whole",
    ".trainable_tokens_": "holds trained rows of an embedding",
    ".lora_A.bias": "is a bias of a factor",
    ".lora_B.bias": "is a bias of a factor",
    ".bias": "is a bias of the base model",
}


class Factor(NamedTuple):
    """One tensor of an adapter file: its name there, the module it adapts, "A" or "B", the adapter's name if given."""

    tensor: str
    module: str
    side: str
    adapter: str | None


def tensor_name(module: str, side: str) -> str:
    """The name under which PEFT looks for a factor of `module`, as it is called in the model."""
    return f"{PREFIX}{module}.lora_{side}.weight"


def module_names(leaf: Leaf) -> list[str]:
    """What transformers calls the modules that a kernel holds, one a layer or just one."""
    return list(leaf.modules)


def stored_names(leaf: Leaf) -> list[str]:
    """What checkpoint files call them, and earlier versions of transformers did."""
    return [name.removesuffix(".weight") for name in leaf.names]


class TiedHead(NamedTuple):
    """An output layer that shares the embedding's weight: what transformers calls its module, and what files do."""

    module: str
    stored: str


def tied_head(config: Config) -> TiedHead | None:
    """The output layer of a model that ties it, of which our tree has no leaf; None for any other model."""
    family = family_of(config.model_type, "Config")
    stored = family.modules["lm_head"]
    return TiedHead(family.live.get(stored, stored), stored) if config.tie_embeddings else None


def parse(tensor: str) -> Factor | None:
    """The factor that a tensor name means; None for a name of another form."""
    name = ".".join(part for part in tensor.split(".") if part not in _WRAPPERS)
    found = _FACTOR.fullmatch(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    return Factor(tensor, *found.group("module", "side", "adapter")) if found else None


def what_else(tensor: str) -> str | None:
    """What a tensor is that is not a factor of a linear module, in words; None if that cannot be told."""
    return next((meaning for part, meaning in _OTHER.items() if f".{tensor}".find(part) >= 0), None)


def spellings(modules: Iterable[str], root: str, *, bare: bool) -> list[dict[str, str]]:
    """The ways in which a wrapped model may call our modules, as `{name there: our name}`, the usual way first.

    root: the first part of the names of the stack ("model", "gpt_neox"). Others are the text part of a model that
    also sees, in the spelling of transformers 5 and of 4, and, where `bare`, a model without output layer, whose
    modules lack the root.
    """
    modules = list(modules)
    inside = [m for m in modules if m.startswith(f"{root}.")]
    outside = [m for m in modules if m not in set(inside)]
    found = [{m: m for m in modules}]
    if bare:
        found.append({m.removeprefix(f"{root}."): m for m in inside})
    tail = {m: m.removeprefix(f"{root}.") for m in inside}
    found.append({f"{root}.language_model.{tail[m]}": m for m in inside} | {m: m for m in outside})
    found.append({f"language_model.{m}": m for m in modules})
    return found


def by_module(tensors: Iterable[str], where: str) -> tuple[dict[tuple[str, str], str], list[str]]:
    """`{(module as spelled in the file, side): tensor}` and the tensors that are not factors.

    Raises CheckpointError for two tensors of one factor and for a file with several adapters.
    """
    found: dict[tuple[str, str], Factor] = {}
    rest = []
    for tensor in tensors:
        factor = parse(tensor)
        if factor is None:
            rest.append(tensor)
            continue
        key = (factor.module, factor.side)
        if key in found:
            raise CheckpointError(
                f"{where}: tensors {found[key].tensor!r} and {tensor!r} are the same factor; expected one of them"
            )
        found[key] = factor
    adapters = sorted({str(factor.adapter) for factor in found.values()})
    if len(adapters) > 1:
        raise CheckpointError(
            f"{where}: holds several adapters ({', '.join(adapters[:4])}); expected a file for each of them"
        )
    return {key: factor.tensor for key, factor in found.items()}, rest
