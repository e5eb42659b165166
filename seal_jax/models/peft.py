"""LoRA adapters in the PEFT layout: adapter_config.json and adapter_model.safetensors.

PEFT ignores tensors whose names it does not expect, so a wrong prefix loads there without effect. Here every tensor
must be accounted for, in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.adapters.attach import Adapter, Entry, attach
from seal_jax.models.config import Config
from seal_jax.models.errors import CheckpointError
from seal_jax.models.families.fields import Fields
from seal_jax.models.hub import local_folder
from seal_jax.models.layout import Leaf, leaves
from seal_jax.models.tensors import TensorFiles, read_json, save_tensors, write_json
from seal_jax.models.transformer import Params

CONFIG, TENSORS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
_BASE = (".weight", ".base_layer.weight")
_INITS = (None, True, False, "gaussian", "eva", "orthogonal")  # the others change the base weights as well
_READ = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "peft_type", "bias", "init_lora_weights")
# These do not change what a loaded adapter computes. Any other field must be absent or empty.
_HARMLESS = (
    *("task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
    *("lora_dropout", "fan_in_fan_out", "exclude_modules", "layers_pattern", "megatron_core", "qalora_group_size"),
    *("eva_config", "runtime_config"),
)


def save_peft(path: str | Path, adapter: Adapter, config: Config) -> None:
    """Write a LoRA adapter as a directory that `peft` loads onto the model of `config` with the same logits.

    adapter: `{path: {"a" [L, in, r], "b" [L, r, out], "scale" [L]}}`; tensors keep their dtype. Entries may differ in
    rank and scale (written as patterns). Raises CheckpointError for another kind of adapter and for factors that do
    not fit `config`.
    """
    kernels = {leaf.path: leaf for leaf in leaves(config) if leaf.transposed}
    tensors: dict[str, np.ndarray] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for key, entry in adapter.items():
        _check_entry(key, entry, kernels)
        a, b, scale = (np.asarray(entry[name]) for name in ("a", "b", "scale"))
        for i, module in enumerate(_modules(kernels[key])):
            at = i if kernels[key].stacked else ()
            tensors[f"{PREFIX}{module}.lora_A.weight"] = np.ascontiguousarray(a[at].T)
            tensors[f"{PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(b[at].T)
            ranks[module], alphas[module] = a.shape[-1], _alpha(scale[at], a.shape[-1])
    if not tensors:
        raise CheckpointError("the adapter is empty; expected at least one LoRA entry")
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / TENSORS, tensors)
    write_json(folder / CONFIG, _config_json(ranks, alphas))


def _alpha(scale: np.ndarray, rank: int) -> float:
    """The alpha whose `alpha / rank` is `scale` in float32, preferring few digits."""
    exact = float(scale) * rank
    short = float(f"{exact:.6g}")
    alpha = short if np.float32(short / rank) == scale else exact
    return int(alpha) if alpha.is_integer() else alpha


def _modules(leaf: Leaf) -> list[str]:
    return [name.removesuffix(".weight") for name in leaf.names]


def _check_entry(path: str, entry: Entry, kernels: Mapping[str, Leaf]) -> None:
    if entry.keys() != {"a", "b", "scale"}:
        raise CheckpointError(
            f"{path}: an entry with keys {sorted(entry)} is not LoRA (a, b, scale), the only kind PEFT can hold here; "
            "attach and materialize it, and use save_pretrained"
        )
    if path not in kernels:
        raise CheckpointError(f"{path} is not a kernel of this config; it has {', '.join(kernels)}")
    *stack, fan_in, fan_out = kernels[path].shape
    rank = entry["a"].shape[-1]
    expected = {"a": (*stack, fan_in, rank), "b": (*stack, rank, fan_out), "scale": tuple(stack)}
    for name, shape in expected.items():
        if entry[name].shape != shape:
            raise CheckpointError(
                f"{path}: {name} has shape {entry[name].shape}; expected {shape} (of a batch, save one at a time)"
            )


def _config_json(ranks: dict[str, int], alphas: dict[str, float]) -> dict[str, Any]:
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": sorted({module.split(".")[-1] for module in ranks}),
        "rank_pattern": {module: r for module, r in ranks.items() if r != rank},
        "alpha_pattern": {module: a for module, a in alphas.items() if a != alpha},
    }


def load_peft(path: str | Path, params: Params, config: Config) -> Adapter:
    """Read a LoRA adapter that `peft` or `save_peft` wrote: `{path: {"a" [L, in, r], "b" [L, r, out], "scale" [L]}}`.

    path: a local directory or a hub name. All leaves are float32; dropout is for training and ignored.
    Raises CheckpointError naming the file, tensor or field that is wrong, is not plain LoRA, or does not fit `params`.
    """
    folder = local_folder(path, (CONFIG, TENSORS))
    fields = Fields(read_json(folder / CONFIG), str(folder / CONFIG))
    _check_config(fields)
    if not (folder / TENSORS).is_file():
        others = ", ".join(sorted(p.name for p in folder.glob("*.bin"))) or "none of its kind"
        raise CheckpointError(f"{folder}: no {TENSORS} (found: {others}); .bin files are not read")
    files = TensorFiles([folder / TENSORS])
    found = _covered(files, fields, params, config)
    adapter = {leaf.path: _load_entry(leaf, files, fields) for leaf in found}
    try:
        jax.eval_shape(attach, params, adapter)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{folder}: does not fit these params: {error}") from error
    return adapter


def _check_config(fields: Fields) -> None:
    fields.choice("peft_type", ("LORA",))
    fields.choice("bias", ("none",), "none")
    fields.choice("init_lora_weights", _INITS, None)
    for name, value in fields.values.items():
        if name not in _READ and name not in _HARMLESS and value not in (None, False, [], {}, ""):
            raise fields.refuse(name, "absent, null or false: plain LoRA")
    for name in ("rank_pattern", "alpha_pattern"):
        odd = [key for key in fields.child(name).values if re.search(r"[^\w.]", key)]
        if odd:
            raise fields.child(name).refuse(odd[0], "module names without regular-expression syntax")


def _covered(files: TensorFiles, fields: Fields, params: Params, config: Config) -> list[Leaf]:
    """The kernels that the file adapts, once every tensor in it is accounted for."""
    every = leaves(config)
    kernels = [leaf for leaf in every if leaf.transposed]
    names = {leaf.path: [f"{PREFIX}{m}.lora_{ab}.weight" for m in _modules(leaf) for ab in "AB"] for leaf in kernels}
    known = [name for group in names.values() for name in group]
    for name in files:
        if name not in known and not _is_base_copy(name, files, params, every):
            like = next((k for k in known if k.endswith(name)), known[0])
            raise CheckpointError(
                f"{files.path(name)}: tensor {name!r} is not a LoRA factor of this model; expected names like {like!r}"
            )
    found = [leaf for leaf in kernels if any(name in files for name in names[leaf.path])]
    missing = [name for leaf in found for name in names[leaf.path] if name not in files]
    targets = fields.values.get("target_modules")
    if isinstance(targets, list):
        modules = [module for leaf in found for module in _modules(leaf)]
        missing += [f"*.{t}.lora_A.weight" for t in targets if not any(f".{m}".endswith(f".{t}") for m in modules)]
    if missing or not found:
        raise CheckpointError(f"{fields.where}: tensor {missing[0] if missing else 'lora_A'!r} is missing beside it")
    return found


def _is_base_copy(name: str, files: TensorFiles, params: Params, every: list[Leaf]) -> bool:
    """PEFT adds the unchanged embedding or head to an adapter that targets one of them. A changed one is an error."""
    single = [leaf for leaf in every if not leaf.stacked]
    outer = {PREFIX + leaf.names[0].replace(".weight", end): leaf for leaf in single for end in _BASE}
    if name not in outer:
        return False
    module, leaf = outer[name].path.split("/")
    ours = np.asarray(params[module][leaf])
    stored = files.read_as(name, outer[name].tensor_shape, ours.dtype.name)
    if not np.array_equal(stored, ours.T if outer[name].transposed else ours):
        raise CheckpointError(
            f"{files.path(name)}: tensor {name!r} differs from the base model's; only LoRA factors can be loaded, "
            "a copy of the base weight must be exact"
        )
    return True


def _load_entry(leaf: Leaf, files: TensorFiles, fields: Fields) -> Entry:
    factors = [_load_module(leaf, module, files, fields) for module in _modules(leaf)]
    if len({a.shape for a, _, _ in factors}) > 1:
        ranks = sorted({a.shape[-1] for a, _, _ in factors})
        raise CheckpointError(f"{fields.where}: {leaf.path} has ranks {ranks}; expected the same rank in every layer")
    a, b, scale = (np.stack(parts) if leaf.stacked else parts[0] for parts in zip(*factors))
    return {"a": jnp.asarray(a), "b": jnp.asarray(b), "scale": jnp.asarray(scale)}


def _load_module(leaf: Leaf, module: str, files: TensorFiles, fields: Fields) -> tuple[np.ndarray, ...]:
    rank = _pattern(fields, "rank_pattern", module).integer("value", fields.integer("r"))
    alpha = _pattern(fields, "alpha_pattern", module).number("value", fields.number("lora_alpha"))
    fan_out, fan_in = leaf.tensor_shape
    name_a, name_b = (f"{PREFIX}{module}.lora_{ab}.weight" for ab in "AB")
    a = files.read_as(name_a, (rank, fan_in), "float32")
    b = files.read_as(name_b, (fan_out, rank), "float32")
    return a.T, b.T, np.asarray(alpha / rank, np.float32)


def _pattern(fields: Fields, name: str, module: str) -> Fields:
    """The entry of a pattern that names this module, by its whole dotted name or the end of it."""
    pattern = fields.child(name)
    value = next((v for key, v in pattern.values.items() if f".{module}".endswith(f".{key}")), None)
    return Fields({"value": value}, f"{pattern.where}: {module}")
