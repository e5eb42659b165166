"""Adapters of earlier tasks, frozen beneath the one that is trained: one LoRA for each task, as O-LoRA has it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.core import Tracer

from seal_jax.adapters import Adapter


def room(adapter: Adapter, columns: int) -> Adapter:
    """`adapter` with empty places for frozen factors of `columns` ranks in all.

    They are `held_a [L, in, columns]` and `held_b [L, columns, out]`, zeros: nothing changes but the structure of the
    tree, which then is the same for a whole stream of tasks. `training.finetune` trains `a` and `b` alone. Raises
    ValueError if it holds something already.
    """

    def one(path: str, entry: dict[str, jax.Array]) -> dict[str, jax.Array]:
        if entry.keys() != {"a", "b", "scale"}:
            raise ValueError(f"{path}: a LoRA entry with a, b and scale is needed, this has {', '.join(sorted(entry))}")
        a, b = entry["a"], entry["b"]
        held_a = jnp.zeros((*a.shape[:-1], columns), a.dtype)
        return {**entry, "held_a": held_a, "held_b": jnp.zeros((*b.shape[:-2], columns, b.shape[-1]), b.dtype)}

    if columns < 1:
        raise ValueError(f"columns={columns}: room for one frozen column at least is needed")
    return {path: one(path, entry) for path, entry in adapter.items()}


def hold(adapter: Adapter, fresh: Adapter) -> Adapter:
    """The adapter of the next task: what `adapter` has learnt is held, frozen, and `fresh` is what is trained.

    adapter: of the task that ends, made with `room`; fresh: from `adapters.lora.init`, with the same ranks and targets;
    as its `b` is zero, the model is the one that the task ended with. Pure, and may be traced. Raises ValueError for
    other paths or ranks, an adapter without room, or, of values that are not traced, if its places are taken; of traced
    ones what is held is then NaN. `check_columns` tells before.
    """
    if adapter.keys() != fresh.keys():
        raise ValueError(f"the new task adapts {sorted(fresh)}, the old one {sorted(adapter)}; they must be the same")
    return {path: _held(path, entry, fresh[path]) for path, entry in adapter.items()}


def check_columns(adapter: Adapter, held: int, tasks: int) -> None:
    """Raise ValueError unless `adapter` has room for `held` adapters of its own ranks in a stream of so many tasks.

    Only shapes are looked at, so that it works on traced arrays and before anything is computed.
    """
    for path, entry in adapter.items():
        columns, rank = _room(path, entry).shape[-1], entry["a"].shape[-1]
        fit = columns // rank
        if fit < held:
            raise ValueError(
                f"{path}: {fit * rank} of {columns} columns are taken after {fit} of {tasks} tasks; {rank} more do not "
                f"fit: this stream needs {held * rank}, room(adapter, {held * rank})"
            )


def _room(path: str, entry: dict[str, jax.Array]) -> jax.Array:
    if "held_a" not in entry:
        raise ValueError(
            f"{path} has no room for a frozen adapter: make the stream's first one with room(adapter, columns)"
        )
    return entry["held_a"]


def _held(path: str, entry: dict[str, jax.Array], fresh: dict[str, jax.Array]) -> dict[str, jax.Array]:
    places = _room(path, entry)
    a, b = entry["a"], entry["b"] * entry["scale"][..., None, None]
    if a.shape != fresh["a"].shape or b.shape != fresh["b"].shape:
        raise ValueError(
            f"{path}: the new adapter has a {fresh['a'].shape}, the old one {a.shape}; they must be the same"
        )
    taken = jnp.any(places != 0, axis=tuple(range(places.ndim - 1)))
    start = taken.sum()  # places are filled from the front
    fits = start + a.shape[-1] <= len(taken)
    if not isinstance(fits, Tracer) and not fits:
        raise ValueError(f"{path}: {int(start)} of {len(taken)} columns are taken; {a.shape[-1]} more do not fit")
    a, b = (jnp.where(fits, x, jnp.nan) for x in (a, b))  # not written over others unseen
    write = jax.lax.dynamic_update_slice_in_dim
    return {
        **fresh,
        "held_a": write(places, a.astype(places.dtype), start, a.ndim - 1),
        "held_b": write(entry["held_b"], b.astype(entry["held_b"].dtype), start, b.ndim - 2),
    }
