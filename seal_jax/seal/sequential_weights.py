"""How the weights of N sequences of edits go from one step to the next: adapter trees with a leading axis N.

A step trains a tree, answers with it, and hands it on. What a tree holds of earlier steps (`value`, `held_a` and
`held_b`, see `adapters.attach`) belongs to each sequence; the base model is shared by all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax import adapters, models
from seal_jax.adapters import Adapter

Start = Callable[[models.Params, Adapter, int], Adapter]
Fresh = Callable[[], Adapter]
Next = Callable[[models.Params, Adapter, Fresh, int], Adapter]


class Weights(NamedTuple):
    """An adapter policy.

    start: `(params, fresh, steps) -> tree`, what the first of `steps` steps trains; next: `(params, trained, make,
    step) -> tree`, what is trained after step `step` (from 0), where `make()` gives fresh adapters. Trees and adapters
    lead with N, params are stacked.
    """

    name: str
    start: Start
    next: Next


def _merged_start(params: models.Params, fresh: Adapter, steps: int) -> Adapter:
    def one(path: str, entry: dict[str, jax.Array]) -> dict[str, jax.Array]:
        if "value" in entry:
            return entry
        kernel = _leaf(params, path)
        return {"value": jnp.broadcast_to(kernel, (len(entry["a"]), *kernel.shape)), **entry}

    return {path: one(path, entry) for path, entry in fresh.items()}


def _merged_next(params: models.Params, trained: Adapter, make: Fresh, step: int) -> Adapter:
    if all(entry.keys() == {"value"} for entry in trained.values()):
        return _rounded(params, trained)
    return _merge(trained, make())


@jax.jit
def _merge(trained: Adapter, fresh: Adapter) -> Adapter:
    """The adapters merged into the kernels they hold, with fresh ones on top."""

    def one(entry: dict[str, jax.Array]) -> jax.Array:
        scaled = entry["b"] * entry["scale"][..., None, None]
        return adapters.materialize(adapters.LoRA(entry["value"], entry["a"], scaled))

    return {path: {"value": one(entry), **fresh[path]} for path, entry in trained.items()}


def _rounded(params: models.Params, trained: Adapter) -> Adapter:
    """Weights that were trained as such, through the model's dtype, as a merged adapter would have gone."""
    through = lambda path, x: x.astype(_leaf(params, path).dtype).astype(x.dtype)  # noqa: E731
    return {path: {"value": through(path, entry["value"])} for path, entry in trained.items()}


def _stack_start(params: models.Params, fresh: Adapter, steps: int) -> Adapter:
    def room(path: str, entry: dict[str, jax.Array]) -> dict[str, jax.Array]:
        if "value" in entry:
            raise ValueError('a stack is of adapters: with method="full" use merged or persistent weights')
        a, b = entry["a"], entry["b"]
        rank = a.shape[-1] * max(steps - 1, 1)
        return {
            **entry,
            "held_a": jnp.zeros((*a.shape[:-1], rank), a.dtype),
            "held_b": jnp.zeros((*b.shape[:-2], rank, b.shape[-1]), b.dtype),
        }

    return {path: room(path, entry) for path, entry in fresh.items()}


def _stack_next(params: models.Params, trained: Adapter, make: Fresh, step: int) -> Adapter:
    fresh = make()

    def one(path: str, entry: dict[str, jax.Array]) -> dict[str, jax.Array]:
        rank = entry["a"].shape[-1]
        at = slice(step * rank, (step + 1) * rank)
        scaled = entry["b"] * entry["scale"][..., None, None]
        return {
            **fresh[path],
            "held_a": entry["held_a"].at[..., at].set(entry["a"]),
            "held_b": entry["held_b"].at[..., at, :].set(scaled),
        }

    return {path: one(path, entry) for path, entry in trained.items()}


def _leaf(params: models.Params, path: str) -> jax.Array:
    found: Any = params
    for part in path.split("/"):
        found = found[part]
    return found


MERGED = Weights("merged", _merged_start, _merged_next)
"""A fresh adapter each step, merged into the sequence's own kernels and thereby rounded to the model's dtype, as the
reference does. N copies of the adapted kernels: for small models."""

STACK = Weights("stack", _stack_start, _stack_next)
"""A fresh adapter each step on top of all earlier ones, which are kept, frozen and exact, as factors: `steps - 1` times
the rank. In float32 the same model as `MERGED`."""

PERSISTENT = Weights("persistent", lambda params, fresh, steps: fresh, lambda params, trained, make, step: trained)
"""One adapter (or copy of all weights) of each sequence that every step trains on."""

KINDS: dict[str, Weights] = {kind.name: kind for kind in (MERGED, PERSISTENT, STACK)}
