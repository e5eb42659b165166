"""Synaptic intelligence (arXiv 1703.04200): importance as a running integral over the path of the training."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seal_jax.continual.regularizers.anchor import (
    LearningRate,
    Scalar,
    as_float,
    check_not_negative,
    check_placement,
    copied,
    pull,
    rate_at,
    zeros,
)


class SynapticState(NamedTuple):
    """`inner`, the wrapped optimizer's state; `cl_path`, how far each parameter has lowered the loss since the task
    began at `cl_anchor`; `cl_omega`, the importances so far: float32 trees like the parameters. `cl_xi` and
    `cl_strength` float32 `[]`, the settings `xi` and `2 * c`; `cl_count` int32 `[]`, updates so far.
    """

    inner: Any
    cl_path: Any
    cl_anchor: Any
    cl_omega: Any
    cl_xi: jax.Array
    cl_strength: jax.Array
    cl_count: jax.Array


def si(
    inner: optax.GradientTransformation,
    c: Scalar,
    learning_rate: LearningRate | None = None,
    xi: Scalar = 1e-3,
    placement: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Wrap `inner` with the penalty `c * sum(omega * (theta - anchor)^2)`; every update sums `omega` up.

    `cl_path -= gradient * step`, with the gradient that comes in (make it the task's loss alone, clipped or not) and
    the step that goes out, so that it is right for any inner optimizer. `consolidate(opt_state, params)` ends a task:
    `omega += max(path, 0) / ((theta - anchor)^2 + xi)`, `anchor = theta`, `path = 0`.
    inner: a whole optimizer, learning rate included, but not one that gathers gradients: `optax.MultiSteps` goes around
    it, `MultiSteps(si(...), n)`, since within it the step would not be that of the gradient that comes in. c: a number
    or array `[]`; with importances normalised, 4 is a good start for the proximal placement.
    xi: damping, above 0. learning_rate: as in `ewc`. placement: see `anchor`; "coupled" gives `inner` the penalty's
    gradient in addition. By default "proximal" with a learning rate and "coupled" without.
    State: `inner`'s and three float32 trees like the parameters. Raises ValueError as `ewc` does, and for `MultiSteps`
    within.
    """
    check_not_negative("c", c)
    check_not_negative("xi", xi, positive=True)
    where = placement or ("coupled" if learning_rate is None else "proximal")
    check_placement(where, learning_rate)
    wrapped = optax.with_extra_args_support(inner)

    def init(params: optax.Params) -> SynapticState:
        begun, state = (zeros(params), copied(params), zeros(params)), wrapped.init(params)
        _refuse_gathering(state)
        return SynapticState(state, *begun, as_float(xi), 2.0 * as_float(c), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, SynapticState]:
        rate = rate_at(learning_rate, state.cl_count)
        strength = 2.0 * as_float(c)

        def pulled(tree: Any) -> Any:
            return pull(tree, params, state.cl_anchor, state.cl_omega, strength, rate, where)

        gradients = pulled(updates) if where == "coupled" else updates
        steps, inner_state = wrapped.update(gradients, state.inner, params, **extra)
        if where != "coupled":
            steps = pulled(steps)
        path = jax.tree.map(_further, state.cl_path, updates, steps)
        count = optax.safe_increment(state.cl_count)
        return steps, state._replace(inner=inner_state, cl_path=path, cl_strength=strength, cl_count=count)

    return optax.GradientTransformationExtraArgs(init, update)


def _refuse_gathering(inner_state: Any) -> None:
    nodes = jax.tree.leaves(inner_state, is_leaf=lambda node: isinstance(node, optax.MultiStepsState))
    if any(isinstance(node, optax.MultiStepsState) for node in nodes):
        raise ValueError(
            "optax.MultiSteps within si: a step is then of several gradients, and si sees the last of them; put it "
            "around si instead: optax.MultiSteps(si(...), n)"
        )


def _further(path: jax.Array, gradient: jax.Array, step: jax.Array) -> jax.Array:
    return path - gradient.astype(jnp.float32) * step.astype(jnp.float32)
