"""O-LoRA and plain stacks: a fresh adapter for each task on top of those before, which are frozen."""

from __future__ import annotations

from collections.abc import Callable

import jax

from seal_jax.adapters import Adapter
from seal_jax.continual.method import Method, Scene, State
from seal_jax.continual.methods.parts import checked_by, ended_by
from seal_jax.continual.projections.held import check_columns, hold
from seal_jax.continual.projections.olora import check_frozen, extend_frozen
from seal_jax.training.trainable import trainable


def stacking(
    method: Method, fresh: Callable[[jax.Array], Adapter], orthogonal: bool = True, last: int | None = None
) -> Method:
    """`method` whose adapter is held, frozen, at the end of each task, and `fresh(key)` trained in the next.

    The stream's first adapter is `projections.room(adapter, columns)`, with columns for the adapters of all T tasks,
    `T * rank`, and `olora` in `tx` has as many. Moments begin anew with each adapter. orthogonal: what was learned
    counts for `olora` or `olora_project` in `tx`. last: the number of the last task, after which nothing is held, so
    that `(T - 1) * rank` columns do. `run` raises ValueError for fewer before anything is trained.
    """

    def check(state: State, tasks: int) -> None:
        checked_by(method, state, tasks)
        held = tasks if last is None else min(last, tasks)
        check_columns(state.params, held, tasks)
        if orthogonal:
            check_frozen(state.optimizer, trainable(state.params), held)

    def end_task(state: State, scene: Scene) -> State:
        def holding(state: State, key: jax.Array) -> State:
            optimizer = extend_frozen(state.optimizer, trainable(state.params)) if orthogonal else state.optimizer
            return state._replace(params=hold(state.params, fresh(key)), optimizer=optimizer)

        if last is None:
            return ended_by(method, holding(state, scene.key), scene)
        held = jax.lax.cond(scene.task < last, holding, lambda state, _: state, state, scene.key)
        return ended_by(method, held, scene)

    return method._replace(end_task=end_task, reset=True, check=check)
