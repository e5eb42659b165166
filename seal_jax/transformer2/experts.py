"""Experts: an adapter with what it was trained on, the check that it belongs to a base model, and libraries of them.

An expert is one small file (`expert_files`), a library is a folder of them, `NAME.safetensors` each. The adapter may be
of singular values ("raw", or "z" as mixing makes it) or LoRA, so that what is compared is stored and used alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seal_jax.adapters import GROUPS, Adapter
from seal_jax.adapters.targets import ALIASES
from seal_jax.adapters.weights import shape_of
from seal_jax.runtime.distributed import host
from seal_jax.transformer2.base_fingerprint import base_fingerprint

KINDS: dict[frozenset[str], str] = {
    frozenset({"raw"}): "raw",
    frozenset({"z"}): "z",
    frozenset({"a", "b", "scale"}): "lora",
}
COMPOSE = ("scaled", "plain")
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


class ExpertError(ValueError):
    """An expert cannot be read, written or used. The message names the file or the entry, and what would be right."""


class Meta(NamedTuple):
    """What is known of an expert besides its numbers.

    task: what it was trained for; targets: names as `adapters.select` takes them; base: `base_fingerprint` of the
    model it was trained on; shapes: of the kernels it adapts there, `[L, in, out]` by path; compose: as in
    `adapters.attach`; seed; score: that of its validation split, None if there is none; base_name: the base for people,
    as a path or a hub name; settings: how it was trained, anything that JSON holds.
    """

    task: str
    targets: tuple[str, ...]
    base: str
    shapes: Mapping[str, tuple[int, ...]]
    compose: str = "scaled"
    seed: int | None = None
    score: float | None = None
    base_name: str = ""
    settings: Mapping[str, Any] = {}


class Expert(NamedTuple):
    """adapter: `{path: {"raw" [L, k]}}`, `{path: {"z" [L, k]}}` or LoRA entries, one kind in all; meta: about it."""

    adapter: Adapter
    meta: Meta


def make_expert(
    adapter: Adapter,
    params: Any,
    *,
    task: str,
    targets: Sequence[str] | None = None,
    base: str | None = None,
    **about: Any,
) -> Expert:
    """An expert of an adapter that was trained on `params`, which give the base's fingerprint and shapes.

    targets: by default the modules that the adapter has. base: `base_fingerprint(params)`, if it is known already.
    about: further fields of `Meta`. Raises ExpertError for an adapter that does not fit, or what `check` refuses.
    """
    shapes = {path: kernel_shape(params, path) for path in adapter}
    for path, shape in shapes.items():
        if shape is None:
            raise ExpertError(f"{path}: the base model has no such kernel")
    if isinstance(targets, str):
        targets = (targets,)
    names = tuple(dict.fromkeys(map(_module, adapter))) if targets is None else tuple(targets)
    score = about.get("score")
    if score is not None:
        about["score"] = float(score) if math.isfinite(score) else None
    meta = Meta(task, names, base or base_fingerprint(params), {p: s for p, s in shapes.items() if s}, **about)
    expert = Expert(adapter, meta)
    check(expert, f"expert for {task!r}")
    return expert


def kind_of(expert: Expert) -> str:
    """ "raw", "z" or "lora". Raises ExpertError for no entries, unknown ones, or several kinds."""
    kinds = {KINDS.get(frozenset(entry), f"[{', '.join(sorted(entry))}]") for entry in expert.adapter.values()}
    if len(kinds) != 1 or not kinds <= set(KINDS.values()):
        found = ", ".join(sorted(kinds)) or "none"
        raise ExpertError(f"entries of an expert are all of one kind, raw, z or lora (a, b, scale); found: {found}")
    return kinds.pop()


def check(expert: Expert, where: str) -> None:
    """Raise ExpertError, beginning with `where`, unless entries, shapes, targets and numbers agree with one another."""
    adapter, meta = expert
    try:
        kind = kind_of(expert)
    except ExpertError as error:
        raise ExpertError(f"{where}: {error}") from None
    if meta.compose not in COMPOSE:
        raise ExpertError(f"{where}: compose={meta.compose!r} is not one of {', '.join(COMPOSE)}")
    if set(meta.shapes) != set(adapter):
        odd = sorted(set(meta.shapes) ^ set(adapter))
        raise ExpertError(
            f"{where}: kernel shapes and entries are not of the same paths; only one of them has {odd[0]}"
        )
    modules = {m for t in meta.targets for m in GROUPS.get(t, (ALIASES.get(t, t),))}
    for path, entry in adapter.items():
        if not {path, _module(path)} & modules:
            raise ExpertError(f"{where}: {path} is none of its targets, {', '.join(meta.targets)}")
        shapes = _entry_shapes(kind, entry, meta.shapes[path])
        for name, x in entry.items():
            if tuple(x.shape) != shapes.get(name):
                wanted = f"{name} of shape {shapes[name]}" if name in shapes else "another one"
                raise ExpertError(
                    f"{where}: {path}: {name} has shape {tuple(x.shape)}; a kernel {meta.shapes[path]} takes {wanted}"
                )
            if not np.isfinite(host(x).astype(np.float32)).all():
                raise ExpertError(f"{where}: {path}: {name} has NaN or inf; an expert is finite numbers")


def _entry_shapes(kind: str, entry: Mapping[str, Any], kernel: Sequence[int]) -> dict[str, tuple[int, ...]]:
    *stack, fan_in, fan_out = kernel
    if kind == "lora":
        rank = entry["a"].shape[-1] if entry["a"].ndim else 0
        return {"a": (*stack, fan_in, rank), "b": (*stack, rank, fan_out), "scale": tuple(stack)}
    # A truncated factorisation has fewer singular values than the kernel.
    k = entry[kind].shape[-1] if entry[kind].ndim else 0
    return {kind: (*stack, k)} if 0 < k <= min(fan_in, fan_out) else {}


def check_base(
    expert: Expert, params: Any, where: str, *, base: str | None = None, allow_transfer: bool = False
) -> None:
    """Raise ExpertError unless `params` are what the expert was trained on.

    allow_transfer: accept another base of the same kernels, with as many layers and singular values (a LoRA expert:
    of the same shapes), as in the paper's experiment across models. base: `base_fingerprint(params)`, if it is known.
    """
    meta = expert.meta
    if not allow_transfer and (found := base or base_fingerprint(params)) != meta.base:
        name = f" ({meta.base_name})" if meta.base_name else ""
        raise ExpertError(
            f"{where} was trained on the base {meta.base}{name}, and this model is {found}; allow_transfer=True "
            "(--allow-transfer) uses an expert on another base where the shapes fit"
        )
    lora = kind_of(expert) == "lora"
    for path, trained in meta.shapes.items():
        own = kernel_shape(params, path)
        if own is None:
            raise ExpertError(f"{where} adapts {path}, and this model has no such kernel")
        fits = own == tuple(trained) if lora else _singular(own) == _singular(trained)
        if not fits:
            unit = "in and out" if lora else "singular values"
            raise ExpertError(
                f"{where}: {path} was a kernel {tuple(trained)} and is {own} in this model; an expert is used on "
                f"another base only where layers and {unit} are equal"
            )


def _module(path: str) -> str:
    """The name by which a target has a kernel: that of its module, or, of what is no decoder's kernel, its path."""
    *_, module, last = ["", *path.split("/")]
    return module if last == "kernel" else path


def _singular(kernel: Sequence[int]) -> tuple[int, ...]:
    return (*kernel[:-2], min(kernel[-2:]))


def kernel_shape(params: Any, path: str) -> tuple[int, ...] | None:
    """Shape `[L, in, out]` of the kernel at a path of stacked or unrolled parameters; None where there is none."""
    node: Any = params
    layers: tuple[int, ...] = ()
    for part in path.split("/"):
        if isinstance(node, tuple):
            layers, node = (len(node),), node[0] if node else {}
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    if isinstance(node, Mapping | tuple):
        return None
    shape = (*layers, *shape_of(node))
    return shape if len(shape) >= 2 else None


def library_path(folder: str | Path, name: str) -> Path:
    """The file of an expert in a library. Raises ExpertError for a name that is not letters, digits and ._+-."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ExpertError(f"{name!r} is no name for an expert: use letters, digits and . _ + -")
    return Path(folder) / f"{name}.safetensors"
