"""N adapters over one base model, cut into layers before the decode loop rather than in each of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.adapters import Adapter, attach, check_scales
from seal_jax.models import Params


class Layered(NamedTuple):
    """An adapter tree cut up: `layers[i]` holds layer i's entries (no layer axis), `rest` those outside the layers."""

    rest: Adapter
    layers: tuple[Adapter, ...]


class Bank(NamedTuple):
    """Adapters whose leaves have a leading axis N, and the SVF factors they share (no such axis), or None.

    factors: stacked over layers, of which a program makes its own copy cut into layers; or cut up beforehand.
    """

    adapters: Adapter
    factors: Adapter | Layered | None = None

    @property
    def count(self) -> int:
        """N."""
        return len(jax.tree.leaves(self.adapters)[0])


def bank_of(adapters: Adapter, factors: Adapter | Layered | None, compose: str) -> Bank:
    """A bank whose SVF experts have been checked. Raises ValueError where one divides by a sum that vanishes."""
    check_scales(adapters, _singular_values(factors) if isinstance(factors, Layered) else factors, compose)
    return Bank(adapters, factors)


def _singular_values(factors: Layered) -> dict[str, dict[str, jax.Array]]:
    """`{path: {"s" [L, k]}}`."""
    stacked = {path: jnp.stack([layer[path]["s"] for layer in factors.layers]) for path in factors.layers[0]}
    return {path: {"s": s} for path, s in stacked.items()} | {p: {"s": f["s"]} for p, f in factors.rest.items()}


def cut(adapter: Adapter, layers: int, axis: int) -> Layered:
    """Slice every entry below "layers/" along its layer axis. Raises ValueError if it is not `layers` long there."""
    stacked = {path: entry for path, entry in adapter.items() if path.startswith("layers/")}
    for path, entry in stacked.items():
        for name, x in entry.items():
            if x.shape[axis : axis + 1] != (layers,):
                raise ValueError(f"{path}: {name} of shape {x.shape} is not stacked for {layers} layers on axis {axis}")
    pick = lambda i: jax.tree.map(lambda x: jax.lax.index_in_dim(x, i, axis, keepdims=False), stacked)  # noqa: E731
    rest = {path: entry for path, entry in adapter.items() if path not in stacked}
    return Layered(rest, tuple(pick(i) for i in range(layers)))


def attach_cut(params: Params, adapter: Layered, factors: Layered, compose: str, form: str) -> Params:
    """`adapters.attach` of one adapter that `cut` has cut up to unrolled parameters."""
    params = attach(params, adapter.rest, factors.rest, compose, form)
    each = zip(params["layers"], adapter.layers, factors.layers)
    return {**params, "layers": tuple(attach({"layers": p}, a, f, compose, form)["layers"] for p, a, f in each)}


def check_count(adapters: Any) -> int:
    """N of an adapter tree with a leading axis N. Raises ValueError for a list, for none, or if leaves differ in it."""
    if not isinstance(adapters, Mapping):
        kind = type(adapters).__name__
        raise ValueError(f"adapters is a {kind}, expected one tree: make it of LoRA adapters with stack_adapters")
    counts = {x.shape[:1] for x in jax.tree.leaves(adapters)}
    if len(counts) != 1 or counts == {()}:
        raise ValueError(f"adapter leaves lead with axes {sorted(counts)}: expected one and the same axis N")
    return counts.pop()[0]


@jax.jit
def pick(bank: Bank, ids: jax.Array) -> Bank:
    """The adapters `ids`, int32 `[M]`; -1 is the base model, bit for bit in the form that `form_of` gives."""
    there = ids >= 0
    entries = {path: _pick(entry, jnp.maximum(ids, 0), there) for path, entry in bank.adapters.items()}
    return bank._replace(adapters=entries)


def form_of(ids: Sequence[int]) -> str:
    """The form of SVF weights for these ids: what -1 leaves as it is needs the kernel itself, others do without it.

    The kernels are in memory in any case; "residual" reads them besides the factors, 1.8 times as much for an MLP.
    """
    return "residual" if -1 in ids else "auto"


# What leaves a kernel as it is: a product with zeros; singular values times sigmoid(inf) = 1, or times 1.
_NEUTRAL = {"raw": jnp.inf, "z": 1.0, "b": 0.0}


def _pick(entry: dict[str, jax.Array], ids: jax.Array, there: jax.Array) -> dict[str, jax.Array]:
    if "value" in entry or "held_a" in entry:
        raise ValueError("adapters that replace weights answer in generate_batch, each its own prompts; not by row")
    picked = {name: x[ids] for name, x in entry.items()}
    if "b" in picked and picked["b"].shape[-2] == 1:
        # A product of rank 1 is no matmul to the compiler: fused with what follows it, even one with zeros may change
        # how the base's part is rounded.
        picked = _with_rank(picked, 2)
    [name] = picked.keys() & _NEUTRAL.keys()
    x = picked[name]
    kept = jnp.expand_dims(there, range(1, x.ndim))
    return {**picked, name: jnp.where(kept, x, jnp.asarray(_NEUTRAL[name], x.dtype))}


def stack(adapters: Sequence[Adapter]) -> Adapter:
    """LoRA adapters of any ranks and targets as one tree with a leading axis: `{path: {"a" [N, L, in, r], ...}}`.

    Filled up with zeros to the largest rank, and where an adapter has no entry for a path; that changes no number.

    Raises ValueError if there are none, if one is not LoRA, or if kernels of a path differ in shape.
    """
    if not adapters:
        raise ValueError("there are no adapters to stack")
    stacked: Adapter = {}
    for path in dict.fromkeys(path for adapter in adapters for path in adapter):
        entries = [adapter.get(path) for adapter in adapters]
        found = [entry for entry in entries if entry is not None]
        if any(entry.keys() != {"a", "b", "scale"} for entry in found):
            raise ValueError(f"{path}: only LoRA adapters, with a, b and scale, can be stacked")
        kernels = {(*entry["a"].shape[:-1], entry["b"].shape[-1]) for entry in found}
        if len(kernels) > 1:
            raise ValueError(f"{path}: adapters for kernels of different shapes {sorted(kernels)}")
        rank = max(entry["a"].shape[-1] for entry in found)
        nothing = {name: jnp.zeros_like(x) for name, x in found[0].items()}
        filled = [_with_rank(nothing if entry is None else entry, rank) for entry in entries]
        stacked[path] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled)
    return stacked


def _with_rank(entry: dict[str, jax.Array], rank: int) -> dict[str, jax.Array]:
    widen = lambda x, axis: jnp.pad(x, [(0, rank - x.shape[i] if i == axis else 0) for i in range(x.ndim)])  # noqa: E731
    return {**entry, "a": widen(entry["a"], entry["a"].ndim - 1), "b": widen(entry["b"], entry["b"].ndim - 2)}


def arrange(ids: Sequence[int], most_waste: float = 1.25) -> list[tuple[int, list[int]]]:
    """Rows as groups of one adapter each, `(adapter, rows)`; all groups are filled up to the size of the largest.

    Grouped by adapter, each adapter's factors are read once a step for all of its rows. Where that would pad the rows
    to more than `most_waste` times their number, every row is a group of its own, with its own copy of the factors.
    """
    groups: dict[int, list[int]] = {}
    for row, adapter in enumerate(np.asarray(ids).tolist()):
        groups.setdefault(adapter, []).append(row)
    largest = max(map(len, groups.values()), default=0)
    if len(groups) * largest > most_waste * len(ids):
        return [(adapter, [row]) for row, adapter in enumerate(np.asarray(ids).tolist())]
    return sorted(groups.items())
