"""`load_peft`: from a directory in the PEFT layout to an adapter tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.adapters.attach import Adapter, Entry, attach
from seal_jax.models.config import Config
from seal_jax.models.errors import CheckpointError
from seal_jax.models.families import family_of
from seal_jax.models.hub import local_folder
from seal_jax.models.layout import Leaf, leaves
from seal_jax.models.paths import member
from seal_jax.models.peft.names import (
    PREFIX,
    SIDES,
    TiedHead,
    by_module,
    module_names,
    spellings,
    stored_names,
    tensor_name,
    tied_head,
    what_else,
)
from seal_jax.models.peft.settings import Settings, read_settings
from seal_jax.models.stored import copy_finite
from seal_jax.models.tensors import TensorFiles, read_json
from seal_jax.models.transformer import Params

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_BASE = (".weight", ".base_layer.weight")
_TIED = "an output layer that is tied to the embedding; expected LoRA on linear modules with a weight of their own"


def load_peft(path: str | Path, params: Params, config: Config) -> Adapter:
    """Read a LoRA adapter that `peft`, vLLM's users or `save_peft` wrote.

    path: a local directory or a hub name. params: the base model's, plain. Returns `{path: {"a" [L, in, r], "b"
    [L, r, out], "scale" [L]}}`, all float32. `r` is the largest rank of a kernel's layers; factors of less are padded
    with zeros, and a layer that is not adapted has zeros and scale 0, so the tree computes exactly what the folder
    says. Dropout is for training and ignored.

    Raises CheckpointError naming the file, tensor or field that is wrong, is not LoRA on linear modules, or does not
    fit `params`; also where settings and tensors name different modules, which PEFT passes over.
    """

    def base(leaf: Leaf) -> np.ndarray:
        found: Any = params
        for part in leaf.path.split("/"):
            found = found[part]
        return np.asarray(found)

    adapter = read_adapter(path, config, base)
    try:
        jax.eval_shape(attach, params, adapter)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: does not fit these params: {error}") from error
    return adapter


def read_adapter(path: str | Path, config: Config, base: Callable[[Leaf], np.ndarray]) -> Adapter:
    """`load_peft` where the base model is not in memory.

    base: gives a leaf of it, in our layout. It is asked for the embedding or the output layer alone, and only if the
    adapter file holds a copy of them, which has to be exact.
    """
    folder = local_folder(path, (CONFIG, TENSORS))
    settings = read_settings(read_json(_config_file(folder)), str(folder / CONFIG))
    files = TensorFiles([_tensor_file(folder)])
    every = leaves(config)
    modules = _modules(files, settings, base, config, every)
    return {
        leaf.path: _entry(leaf, modules, files, settings)
        for leaf in every
        if leaf.transposed and any(name in modules for name in module_names(leaf))
    }


def _config_file(folder: Path) -> Path:
    if not (folder / CONFIG).exists():
        inside = sorted(p.parent.name for p in folder.glob(f"*/{CONFIG}"))
        hint = f"; it holds the adapters {', '.join(inside[:4])}: name one, or use load_peft_stack" if inside else ""
        raise CheckpointError(f"{folder}: no {CONFIG}, so not an adapter in the PEFT layout{hint}")
    return member(folder, CONFIG)


def _tensor_file(folder: Path) -> Path:
    if not (folder / TENSORS).exists():
        found = ", ".join(sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt"))) or "none of its kind"
        raise CheckpointError(
            f"{folder}: no {TENSORS} (found: {found}); .bin and .pt files are pickles, which run code when they are "
            "read: have peft write safetensors (save_pretrained)"
        )
    return member(folder, TENSORS)


class _Module(NamedTuple):
    """A module of the adapter: its name in the model PEFT wrapped, and the tensors of its factors."""

    spelled: str
    tensors: dict[str, str]


def _modules(
    files: TensorFiles, settings: Settings, base: Callable[[Leaf], np.ndarray], config: Config, every: list[Leaf]
) -> dict[str, _Module]:
    """`{HF module name: _Module}`, once every tensor in the file and every module in the settings is accounted for."""
    where = str(next((files.path(name) for name in files), settings.where))
    factors, rest = by_module(files, where)
    tied = tied_head(config)
    spelling = _spelling(factors, [leaf for leaf in every if len(leaf.tensor_shape) == 2], tied, settings, config)
    kernels = {name for leaf in every if leaf.transposed for name in module_names(leaf)}
    ours = {there: name for there, name in spelling.items() if name in kernels}
    whole = {leaf.modules[0]: leaf for leaf in every if not leaf.stacked and len(leaf.tensor_shape) == 2}
    if tied:
        whole[tied.module] = next(leaf for leaf in every if leaf.path == "embed_tokens/embedding")
    copies = {f"{PREFIX}{there}{end}": whole[m] for there, m in spelling.items() if m in whole for end in _BASE}
    for tensor in rest:
        if tensor not in copies:
            raise _unknown(tensor, where, kernels)
        _check_copy(tensor, files, base, copies[tensor])
    for (module, _), tensor in factors.items():
        if tied and spelling.get(module) == tied.module:
            raise CheckpointError(f"{where}: tensor {tensor!r} adapts {_TIED}")
        if module not in ours:
            raise _unknown(tensor, where, kernels)
    wanted = _wanted(settings, spelling, every, config)
    for (module, _), tensor in factors.items():
        if module not in wanted:
            raise CheckpointError(
                f"{where}: tensor {tensor!r} is of a module that {settings.where} does not adapt (target_modules, "
                "exclude_modules, layers_to_transform); PEFT would ignore it"
            )
    for module in wanted:
        for side in SIDES:
            if (module, side) not in factors:
                raise CheckpointError(
                    f"{settings.where}: tensor {tensor_name(module, side)!r} is missing beside it, in {TENSORS}"
                )
    return {ours[m]: _Module(m, {side: factors[m, side] for side in SIDES}) for m in wanted}


def _spelling(
    factors: Mapping[tuple[str, str], str],
    known: list[Leaf],
    tied: TiedHead | None,
    settings: Settings,
    config: Config,
) -> dict[str, str]:
    """How the file calls the modules: the spelling under which most of its tensors are known, the usual one first."""
    root = family_of(config.model_type, "Config").modules["embed_tokens"].split(".")[0]
    names = [name for leaf in known for name in module_names(leaf)]
    stored = [name for leaf in known for name in stored_names(leaf)]
    if tied:
        names, stored = [*names, tied.module], [*stored, tied.stored]
    found = [*spellings(names, root, bare=settings.bare), dict(zip(stored, names))]
    modules = {module for module, _ in factors}
    return max(found, key=lambda spelling: len(modules & spelling.keys()))


def _unknown(tensor: str, where: str, kernels: set[str]) -> CheckpointError:
    expected = [tensor_name(module, "A") for module in sorted(kernels)]
    like = next((name for name in expected if name.endswith(tensor.removeprefix(PREFIX))), expected[0])
    meaning = what_else(tensor)
    said = f"{meaning}; only LoRA factors of linear modules can be loaded" if meaning else f"expected like {like!r}"
    return CheckpointError(f"{where}: tensor {tensor!r} is not a LoRA factor of this model: {said}")


def _wanted(settings: Settings, spelling: dict[str, str], every: list[Leaf], config: Config) -> list[str]:
    """The modules that the settings adapt, as the file spells them."""
    kernels = {name for leaf in every if leaf.transposed for name in module_names(leaf)}
    head = next((name for leaf in every if leaf.path.startswith("lm_head/") for name in module_names(leaf)), None)
    tied = tied_head(config)
    wanted = []
    for module, name in spelling.items():
        if settings.all_linear and (name == head or name not in kernels):
            continue
        if not settings.selects(module):
            continue
        if tied and name == tied.module:
            raise CheckpointError(f"{settings.where}: target_modules names {module!r}, {_TIED}")
        if name not in kernels:
            raise CheckpointError(
                f"{settings.where}: target_modules names {module!r}, an embedding; expected linear modules only"
            )
        wanted.append(module)
    if not wanted:
        some = ", ".join(sorted({module.split(".")[-1] for module in kernels}))
        raise CheckpointError(
            f"{settings.where}: target_modules names no linear module of this model; {config.model_type} has {some}"
        )
    return wanted


def _check_copy(tensor: str, files: TensorFiles, base: Callable[[Leaf], np.ndarray], leaf: Leaf) -> None:
    """PEFT adds the unchanged embedding or head to an adapter, on request too. A changed one is an error."""
    files.check(tensor, leaf.tensor_shape)
    ours = base(leaf)
    stored = files.read_as(tensor, leaf.tensor_shape, ours.dtype.name)
    if not np.array_equal(stored, ours.T if leaf.transposed else ours):
        raise CheckpointError(
            f"{files.path(tensor)}: tensor {tensor!r} differs from the base model's; only LoRA factors can be "
            "loaded, a copy of the base weight must be exact"
        )


def _entry(leaf: Leaf, modules: Mapping[str, _Module], files: TensorFiles, settings: Settings) -> Entry:
    """The factors of one kernel, padded with zeros to the largest rank of its layers."""
    fan_out, fan_in = leaf.tensor_shape
    layers = [(i, modules[name]) for i, name in enumerate(module_names(leaf)) if name in modules]
    for _, module in layers:  # before memory is taken for the rank that the settings claim
        rank = settings.rank_of(module.spelled)
        files.check(module.tensors["A"], (rank, fan_in))
        files.check(module.tensors["B"], (fan_out, rank))
    rank = max(settings.rank_of(module.spelled) for _, module in layers)
    count = len(leaf.names)
    a = np.zeros((count, fan_in, rank), np.float32)
    b = np.zeros((count, rank, fan_out), np.float32)
    scale = np.zeros(count, np.float32)
    for i, module in layers:
        own = settings.rank_of(module.spelled)
        for target, name in ((a[i, :, :own], module.tensors["A"]), (b[i, :own], module.tensors["B"])):
            copy_finite(target, files.read(name).T, f"{files.path(name)}: tensor {name!r}")
        scale[i] = settings.scale_of(module.spelled)
    entry = {"a": a, "b": b, "scale": scale}
    return {name: jnp.asarray(x if leaf.stacked else x[0]) for name, x in entry.items()}
