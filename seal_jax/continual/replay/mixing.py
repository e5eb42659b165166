"""Batches of new and replayed rows.

Replay mixes rows into batches, not data sets: a batch keeps its size and an epoch is one pass over the new task's data.
Either every batch is extended by a fixed number of replayed rows (`append`), or a share of the rows of a batch of fixed
size is replayed (`mixed_steps`, `mix`), or whole batches at regular steps are (`replay_steps`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.continual.replay.memory import Drawn
from seal_jax.data.packing import permutation


def append(batch: Any, drawn: Drawn) -> tuple[Any, jax.Array]:
    """The rows of `batch`, leaves `[B, ...]`, then the drawn ones `[R, ...]`, and what each counts: float32 `[B + R]`.

    Drawn rows count 0 while the memory is empty, so that a loss weighted by them is that of the new rows alone.
    """
    rows = jnp.shape(jax.tree.leaves(batch)[0])[0]
    joined = jax.tree.map(lambda new, old: jnp.concatenate([new, old.astype(new.dtype)]), batch, drawn.items)
    return joined, jnp.concatenate([jnp.ones(rows, jnp.float32), drawn.valid.astype(jnp.float32)])


def mix(batch: Any, drawn: Drawn, replayed: jax.Array) -> Any:
    """`batch`, leaves `[B, ...]`, with the rows that `replayed` names, bool `[B]`, replaced by drawn ones, B of them.

    Where the memory was empty, the rows stay.
    """
    chosen = replayed & drawn.valid

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(chosen.reshape(-1, *[1] * (new.ndim - 1)), old.astype(new.dtype), new)

    return jax.tree.map(pick, batch, drawn.items)


def replay_count(key: jax.Array, rate: jax.Array | float, batch_size: int) -> jax.Array:
    """How many rows of a batch are replayed: int32 `[]`, `rate * batch_size` rounded at random, right in the mean."""
    wanted = jnp.asarray(rate, jnp.float32) * batch_size
    return jnp.floor(wanted + jax.random.uniform(key)).astype(jnp.int32)


def replay_steps(steps: int, rate: float) -> np.ndarray:
    """The steps whose whole batch is replayed: bool `[steps]`, every `round(1 / rate)`-th one, none for a rate of 0."""
    _check_rate(rate)
    return (np.arange(1, steps + 1) % round(1 / rate) == 0) if rate else np.zeros(steps, bool)


def mixed_steps(count: int, batch_size: int, rate: float, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """One pass over `count` new items in batches that hold a share `rate` of replayed rows: int32 `[S, batch_size]`.

    An entry is the index of a new item, -1 for a row to be replayed, or -2 for padding at the end. Every new item comes
    once, in an order of its own in each epoch. A batch has `rate * batch_size` replayed rows, rounded up or down from a
    random start of the epoch so that after any number of batches the total is right to one row. ValueError for a rate
    outside [0, 1).
    """
    _check_rate(rate)
    if count < 0 or batch_size < 1:
        raise ValueError(f"{count} items in batches of {batch_size}: use 0 or more, and 1 or more")
    total = np.random.Philox(np.random.SeedSequence((seed, epoch, 1))).random_raw() / 2**64
    order, rows = permutation(count, seed, epoch), []
    while len(order):
        replayed = int(total + rate * batch_size) - int(total)
        total += rate * batch_size
        new, order = order[: batch_size - replayed], order[batch_size - replayed :]
        rows.append(np.concatenate([new, np.full(replayed, -1), np.full(batch_size - replayed - len(new), -2)]))
    return np.array(rows, np.int32).reshape(-1, batch_size)


def mix_review_count(count: int, epoch: int, ratio: float = 4.0, decay: float = 0.7) -> int:
    """Old items that MixReview mixes with `count` new ones in epoch `epoch`, from 0: `count * ratio * decay**epoch`."""
    if ratio < 0 or not 0 <= decay <= 1 or epoch < 0:
        raise ValueError(f"ratio={ratio}, decay={decay}, epoch={epoch}: use 0 or more, 0 to 1, and 0 or more")
    return round(count * ratio * decay**epoch)


def _check_rate(rate: float) -> None:
    if not 0 <= rate < 1:
        raise ValueError(f"rate={rate}: the share of rows that are replayed is in [0, 1)")
