"""`save_peft`: from an adapter tree to a directory that `peft`, or vLLM, loads with the same logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from seal_jax.adapters.attach import Adapter, Entry
from seal_jax.models.config import Config
from seal_jax.models.errors import CheckpointError
from seal_jax.models.layout import Leaf, leaves
from seal_jax.models.peft.loading import CONFIG, TENSORS
from seal_jax.models.peft.names import module_names, tensor_name
from seal_jax.models.peft.settings import read_settings
from seal_jax.models.stored import DTYPES, copy_finite
from seal_jax.models.tensors import save_tensors, write_json

Layout = Literal["peft", "vllm"]


class _Part(NamedTuple):
    """The factors of one module: a `[in, r]`, b `[r, out]`, and the number that multiplies their product."""

    a: np.ndarray
    b: np.ndarray
    scale: Any


def save_peft(
    path: str | Path,
    adapter: Adapter,
    config: Config,
    *,
    layout: Layout = "peft",
    dtype: Any = None,
    base_model: str | None = None,
) -> None:
    """Write a LoRA adapter as a directory that `peft` loads onto the model of `config` with the same logits.

    adapter: `{path: {"a" [L, in, r], "b" [L, r, out], "scale" [L]}}`. Layers that change nothing (scale or factors 0)
    are left out, and so are ranks in which both factors are 0; what remains may differ in rank and scale.
    layout: "peft" writes differing ranks and alphas as patterns. "vllm" has what vLLM reads: one rank, the scale
    multiplied into B, `lora_alpha` equal to the rank, no patterns; `peft` loads it as well.
    dtype: of the tensors ("float32", "bfloat16", "float16"); None keeps that of the factors.
    base_model: `base_model_name_or_path`. vLLM's folder resolver takes an adapter only if that is the name it serves.

    Raises CheckpointError for another kind of adapter, factors that do not fit `config` or are not finite, and a
    dtype that is none of a tensor's.
    """
    if layout not in ("peft", "vllm"):
        raise CheckpointError(f"layout={layout!r} is not supported; accepted: 'peft', 'vllm'")
    kernels = {leaf.path: leaf for leaf in leaves(config) if leaf.transposed}
    parts: dict[str, _Part] = {}
    for key, entry in adapter.items():
        _check_entry(key, entry, kernels)
        parts.update(_parts(entry, kernels[key]))
    if not parts:
        raise CheckpointError("the adapter is empty; expected at least one LoRA entry")
    parts = _effective(parts)
    if layout == "vllm":
        parts = _uniform(parts)
    tensors = _tensors(parts, dtype)
    every = [name for leaf in leaves(config) for name in module_names(leaf)]
    settings = _config_json(parts, every, base_model, layout)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / TENSORS, tensors)
    write_json(folder / CONFIG, settings)


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
                f"{path}: {name} has shape {entry[name].shape}; expected {shape} (a stack goes to save_peft_stack)"
            )


def _parts(entry: Entry, leaf: Leaf) -> dict[str, _Part]:
    a, b, scale = (np.asarray(entry[name]) for name in ("a", "b", "scale"))
    rows = zip(a, b, scale) if leaf.stacked else [(a, b, scale[()])]
    return {module: _Part(*row) for module, row in zip(module_names(leaf), rows)}


def _effective(parts: dict[str, _Part]) -> dict[str, _Part]:
    """The parts that change something, without ranks that are 0 in both factors.

    A rank with one factor 0 stays: it is where training begins.
    """
    kept = {}
    for module, (a, b, scale) in parts.items():
        used = a.any(axis=0) | b.any(axis=1)
        if scale != 0 and used.any():
            kept[module] = _Part(a[:, used], b[used], scale)
    # PEFT has no adapter of nothing: one rank of zeros stands for it.
    return kept or {module: _Part(a[:, :1] * 0, b[:1] * 0, np.float32(0)) for module, (a, b, _) in parts.items()}


def _uniform(parts: dict[str, _Part]) -> dict[str, _Part]:
    """The same adapter with one rank and scale 1."""
    rank = max(part.a.shape[1] for part in parts.values())
    found = {}
    for module, (a, b, scale) in parts.items():
        missing = rank - a.shape[1]
        scaled = (b.astype(np.float32) * np.float32(scale)).astype(b.dtype)
        padded = np.pad(a, ((0, 0), (0, missing))), np.pad(scaled, ((0, missing), (0, 0)))
        found[module] = _Part(*padded, np.float32(1))
    return found


def _tensors(parts: Mapping[str, _Part], dtype: Any) -> dict[str, np.ndarray]:
    found = {}
    for module, part in parts.items():
        if not np.isfinite(part.scale):
            raise CheckpointError(f"the scale of {module} is {part.scale}; expected a finite number")
        for side, factor in (("A", part.a), ("B", part.b)):
            name = tensor_name(module, side)
            stored = np.dtype(factor.dtype if dtype is None else dtype)
            if stored.name not in DTYPES.values():
                raise CheckpointError(f"{name} would be {stored.name}; accepted: {', '.join(DTYPES.values())}")
            found[name] = np.empty(factor.shape[::-1], stored)
            copy_finite(found[name], factor.T, name)
    return found


def _config_json(parts: Mapping[str, _Part], every: Sequence[str], base_model: str | None, layout: Layout) -> dict:
    ranks = {module: part.a.shape[1] for module, part in parts.items()}
    alphas = {module: _alpha(part.scale, ranks[module]) for module, part in parts.items()}
    rank, rank_pattern = _common(ranks)
    alpha, alpha_pattern = _common(alphas)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        **_targets(set(parts), every, layers=layout == "peft"),
        "rank_pattern": rank_pattern,
        "alpha_pattern": alpha_pattern,
    }


def _alpha(scale: np.floating, rank: int) -> float:
    """The alpha whose `alpha / rank` is `scale` in float32, preferring few digits."""
    exact = float(scale) * rank
    short = float(f"{exact:.6g}")
    alpha = short if np.float32(short / rank) == scale else exact
    return int(alpha) if alpha.is_integer() else alpha


def _common(values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The most frequent value, and a pattern for the modules that have another: by kind where a kind agrees."""
    default = Counter(values.values()).most_common(1)[0][0]
    kinds: dict[str, set[Any]] = {}
    for module, value in values.items():
        kinds.setdefault(module.split(".")[-1], set()).add(value)
    pattern = {}
    for module, value in values.items():
        kind = module.split(".")[-1]
        if value != default:
            pattern[kind if len(kinds[kind]) == 1 else module] = value
    return default, pattern


def _targets(modules: set[str], every: Sequence[str], *, layers: bool) -> dict[str, Any]:
    """`target_modules`, and `layers_to_transform` if wanted, by which just `modules` of `every` module are adapted."""
    kinds = sorted({module.split(".")[-1] for module in modules})
    numbers = sorted({int(part) for module in modules for part in module.split(".") if part.isdigit()})
    outside = sorted(module for module in modules if not any(part.isdigit() for part in module.split(".")))
    inside = sorted({module.split(".")[-1] for module in modules - set(outside)})
    choices: list[dict[str, Any]] = [{"target_modules": kinds}]
    if layers and numbers:
        choices.append({"target_modules": inside + outside, "layers_to_transform": numbers})
    for choice in choices:
        selects = read_settings({"peft_type": "LORA", "r": 1, "lora_alpha": 1, **choice}, "").selects
        if {module for module in every if selects(module)} == modules:
            return choice
    return {"target_modules": sorted(modules)}
