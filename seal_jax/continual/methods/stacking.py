"""O-LoRA and plain stacks: a fresh adapter for each task on top of those before, which are frozen."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from seal_jax.adapters import Adapter
from seal_jax.continual.method import Method, Scene, State
from seal_jax.continual.methods.parts import ended_by
from seal_jax.continual.projections.held import hold
from seal_jax.continual.projections.olora import extend_frozen
from seal_jax.training.trainable import trainable


def stacking(
    method: Method, fresh: Callable[[jax.Array], Adapter], orthogonal: bool = True, last: int | None = None
) -> Method:
    """`method` whose adapter is held, frozen, at the end of each task, and `fresh(key)` trained in the next.

    The stream's first adapter is `projections.room(adapter, columns)`, with places for the ranks of all tasks. Moments
    begin anew with each adapter. orthogonal: what was learned counts for `olora` or `olora_project` in `tx`. last: the
    number of the last task, after which nothing is held, so that one rank less of room is needed.
    """

    def end_task(state: State, scene: Scene) -> State:
        optimizer = extend_frozen(state.optimizer, trainable(state.params)) if orthogonal else state.optimizer
        held = state._replace(params=hold(state.params, fresh(scene.key)), optimizer=optimizer)
        if last is not None:
            goes_on = scene.task < jnp.int32(last)
            held = jax.tree.map(lambda new, old: jnp.where(goes_on, new, old), held, state)
        return ended_by(method, held, scene)

    return method._replace(end_task=end_task, reset=True)
