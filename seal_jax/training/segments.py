"""A long fine-tune in segments of one length, each ending in a checkpoint to go on from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from seal_jax import models
from seal_jax.runtime.distributed import host
from seal_jax.runtime.mesh import mesh_of, row_groups, shard_rows
from seal_jax.training.finetune import advance, begin
from seal_jax.training.loss import LossFn
from seal_jax.training.optim import Hyper
from seal_jax.training.program import Optimizer

if TYPE_CHECKING:
    from seal_jax.runtime.checkpoint import Checkpointer


def finetune_in_segments(
    params: models.Params,
    config: models.Config,
    adapter: Any,
    batches: dict[str, np.ndarray],
    hyper: Hyper,
    tx: Optimizer | None = None,
    loss_fn: LossFn | None = None,
    *,
    every: int,
    checkpoints: Checkpointer | None = None,
    accumulate: int = 1,
    lengths: Sequence[int] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Any, np.ndarray]:
    """`finetune` on NumPy batches `[S, B, T]`: the trained adapter and the loss before each step, float32 `[S]`.

    every: steps of a segment, after which adapter, optimizer state and data position are kept in `checkpoints`; a
    fine-tune that was killed goes on from the newest to the same numbers. The rows of a step are split over the mesh
    that the parameters live on. tx, loss_fn, lengths, accumulate: as in `finetune`. on_progress: called with the steps
    done since the last call.
    """
    steps = batches["tokens"].shape[0]
    size = min(every, steps)
    total = -(-steps // size) * size
    padded = _padded(batches, total, accumulate, row_groups(mesh_of(params)))
    widths = None if lengths is None else np.pad(np.asarray(lengths), (0, total - steps), constant_values=min(lengths))
    state = {"fine-tune": begin(adapter, hyper, tx), "losses": np.full(total, np.nan, np.float32)}
    found = checkpoints.restore_latest(state) if checkpoints else None
    done, state = found or (0, state)
    if on_progress and done:
        on_progress(min(done, steps))
    for start in range(done, total, size):
        segment = {name: x[start : start + size] for name, x in padded.items()}
        tuned, metrics = advance(
            params,
            config,
            state["fine-tune"],
            shard_rows(segment, mesh_of(params)),
            hyper,
            tx,
            loss_fn,
            lengths=None if widths is None else widths[start : start + size],
            among=() if widths is None else np.unique(widths),
            accumulate=accumulate,
        )
        losses = np.array(state["losses"])
        losses[start : start + size] = host(metrics["loss"])
        state = {"fine-tune": tuned, "losses": losses}
        if checkpoints and start + size < total:
            checkpoints.save(start + size, state)
        if on_progress:
            on_progress(min(size, steps - start))
    return state["fine-tune"].adapter, np.asarray(state["losses"])[:steps]


def diverged(adapter: Any, losses: np.ndarray) -> bool:
    """Whether a fine-tune went wrong; the loss is taken before each update, so the last shows in the adapter alone."""
    return not np.isfinite(losses).all() or not all(np.isfinite(x).all() for x in jax.tree.leaves(host(adapter)))


def _padded(batches: dict[str, np.ndarray], total: int, parts: int, devices: int) -> dict[str, np.ndarray]:
    """The batches filled up to `total` steps, and so that devices have equally many rows of each part of a step."""
    steps, rows = batches["tokens"].shape[:2]
    spare = parts * (-(rows // parts) % devices)
    return {name: np.pad(x, [(0, total - steps), (0, spare), *[(0, 0)] * (x.ndim - 2)]) for name, x in batches.items()}
