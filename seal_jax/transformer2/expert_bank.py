"""Experts of one base side by side: one tree with a leading axis, of which each row of a batch uses one or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from seal_jax import generation
from seal_jax.adapters import Adapter, svf
from seal_jax.adapters.scales import z_of
from seal_jax.generation.bank import Layered
from seal_jax.transformer2.experts import Expert, ExpertError, kernel_shape, kind_of


class ExpertBank(NamedTuple):
    """names: of the N experts; adapters: entries `[N, L, ...]`; factors, compose: as `adapters.attach` takes them.

    factors: stacked, or `update.layered`, which whoever asks more than once spares a copy of all of them each time.
    """

    names: tuple[str, ...]
    adapters: Adapter
    factors: Adapter | Layered | None
    compose: str = "scaled"

    def ids(self, which: Sequence[str | None]) -> list[int]:
        """The number of each named expert, -1 for None, the base model. Raises ExpertError for a name it has not."""
        for row, name in enumerate(which):
            if name is not None and name not in self.names:
                raise ExpertError(f"row {row} asks for the expert {name!r}; there are {', '.join(self.names)}, or None")
        return [-1 if name is None else self.names.index(name) for name in which]


def expert_bank(
    experts: Mapping[str, Expert], params: Any, *, factors: Adapter | None = None, cache: str | Path | None = None
) -> ExpertBank:
    """Experts by name as one bank. Made once; batches then choose from it without anything being loaded again.

    params: stacked parameters of the base (nothing is checked against its fingerprint here: `expert_files` does).
    factors: of the kernels of SVF experts, by default computed, or with `cache` kept in that folder. Experts may have
    different kernels: one that leaves a kernel out leaves it as it is. Raises ExpertError where there are none, and for
    experts of SVF beside LoRA ones, of different `compose`, or of truncated factors of different rank.
    """
    if not experts:
        raise ExpertError("there are no experts: a bank has one or more")
    kinds = {name: "LoRA" if kind_of(expert) == "lora" else "SVF" for name, expert in experts.items()}
    composes = {name: expert.meta.compose for name, expert in experts.items()}
    for what, found in (("kind", kinds), ("compose", composes)):
        if len(set(found.values())) > 1:
            told = ", ".join(f"{name} {value}" for name, value in found.items())
            raise ExpertError(f"experts of one batch are of one {what}, and these are {told}")
    compose = next(iter(composes.values()))
    adapters = [expert.adapter for expert in experts.values()]
    if "LoRA" in kinds.values():
        return ExpertBank(tuple(experts), generation.stack_adapters(adapters), None, compose)
    stacked = _stack(adapters)
    if factors is None:
        factors = _factors(stacked, params, cache)
    for path, entry in stacked.items():
        k = next(iter(entry.values())).shape[-1]
        if path not in factors or factors[path]["s"].shape[-1] != k:
            have = factors[path]["s"].shape[-1] if path in factors else "none"
            raise ExpertError(f"{path}: experts scale {k} singular values, and the factors have {have}")
    return ExpertBank(tuple(experts), stacked, {path: factors[path] for path in stacked}, compose)


def _stack(adapters: Sequence[Adapter]) -> Adapter:
    """SVF entries with a leading axis; as raw values where all are, else as z."""
    raw = all("raw" in entry for adapter in adapters for entry in adapter.values())
    name, neutral = ("raw", jnp.inf) if raw else ("z", 1.0)  # sigmoid(inf) = 1: the kernel as it is
    stacked: Adapter = {}
    for path in dict.fromkeys(path for adapter in adapters for path in adapter):
        values = [_value(adapter[path], raw) if path in adapter else None for adapter in adapters]
        shapes = {x.shape for x in values if x is not None}
        if len(shapes) > 1:
            raise ExpertError(f"{path}: experts have values of different shapes, {sorted(shapes)}")
        absent = jnp.full(shapes.pop(), neutral, jnp.float32)
        stacked[path] = {name: jnp.stack([absent if x is None else x for x in values])}
    return stacked


def _value(entry: Mapping[str, Any], raw: bool) -> Any:
    return jnp.asarray(entry["raw"], jnp.float32) if raw else z_of(entry)


def _factors(stacked: Adapter, params: Any, cache: str | Path | None) -> Adapter:
    """The factors of the kernels that experts have, truncated where all of those of less than full rank agree."""
    cut = set()
    for path, entry in stacked.items():
        shape = kernel_shape(params, path)
        if shape is None:
            raise ExpertError(f"{path}: the base model has no such kernel")
        k = next(iter(entry.values())).shape[-1]
        if k < min(shape[-2:]):
            cut.add(k)
    if len(cut) > 1:
        raise ExpertError(f"experts are of factors cut to {sorted(cut)} singular values; they have to be of one rank")
    rank = cut.pop() if cut else None
    if cache is not None:
        return svf.cached_factors(params, tuple(stacked), rank, cache=cache)
    return svf.factor(params, tuple(stacked), rank)
