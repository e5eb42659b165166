"""GPM: what layers have seen goes into the bases that later updates keep out of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from seal_jax.continual.method import Method, Scene, State
from seal_jax.continual.methods.parts import ended_by
from seal_jax.continual.projections.gpm import extend_basis


def spanning(
    method: Method, inputs: Callable[[State, Scene], Mapping[str, jax.Array]], threshold: Any = 0.97
) -> Method:
    """`method`, whose `tx` has `gpm` in it, with `extend_basis(optimizer, inputs(state, scene), threshold)` at the end.

    inputs: samples of what each layer was multiplied with, by the path of its kernel.
    """

    def end_task(state: State, scene: Scene) -> State:
        grown = extend_basis(state.optimizer, inputs(state, scene), threshold)
        return ended_by(method, state._replace(optimizer=grown), scene)

    return method._replace(end_task=end_task)
