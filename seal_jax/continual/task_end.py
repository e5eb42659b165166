"""The end of a task: parameters and importance go into the anchors of an optimizer state. And the penalty's value."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from seal_jax.continual.regularizers.anchor import (
    ExactAnchors,
    FixedAnchor,
    LatestAnchor,
    is_finite_number,
    quadratic,
    zeros,
)
from seal_jax.continual.regularizers.si import SynapticState
from seal_jax.continual.states import anchored_states, covered, laid_beside, map_anchored


def consolidate(opt_state: Any, params: Any, importance: Any = None, gamma: Any = 1.0, normalize: bool = True) -> Any:
    """`opt_state` with this task's end in every anchored state inside of it; nothing else changes. Pure.

    params: where the task ended, a tree as the optimizer sees it (an adapter goes as `training.trainable(adapter)`).
    importance: a tree of the same shapes, none negative, not all zero, from `fisher`, `sensitivity`, those of any model
    (`logits_fisher`, `output_sensitivity`) or anywhere; not given where nothing takes one (L2-SP, RecAdam, SI).
    gamma: number or array `[]` in (0, 1], what is left of the importance of earlier tasks (online EWC: 0.9 to 1).
    normalize: scale the new importance (SI's own too) to mean 1 before it is added, so that a strength carries over
    from one model and estimator to another. Each transform has it scaled over the leaves that it covers, which under
    `optax.masked` and `optax.partition` are not all; what the others hold makes no difference to it.
    EWC: penalties add up exactly, each with its own anchor. Online EWC and MAS: `omega = gamma * omega + importance`,
    anchor = params. SI: its own importance; L2-SP and RecAdam: anchor = params.
    Call it once at a task's end: a second call adds the task's importance again, which doubles the penalty of EWC and
    raises for SI, whose path starts anew.
    Traced arrays are taken, so that it can be jitted or vmapped over streams; what can only be seen in numbers is then
    not checked, and an importance of zeros adds nothing.
    Raises ValueError for a tree of another structure or shape, parameters that are not finite, an importance missing,
    not wanted, negative, not finite, or all zero on what one of the transforms covers, `gamma` outside of (0, 1], and
    an `opt_state` without anchors or of which none covers a parameter.
    """
    states = anchored_states(opt_state)
    _check_gamma(gamma)
    if not any(jax.tree.leaves(state.cl_anchor) for state in states):
        raise ValueError("no anchor in the optimizer state covers a parameter: the mask or the labels select none")
    wanted = any(_takes_importance(state) for state in states)
    if wanted != (importance is not None):
        raise ValueError(
            "consolidate needs the importance of the parameters for this task: a tree like them"
            if wanted
            else "nothing in the optimizer state takes an importance (SI sums up its own, L2-SP and RecAdam have none)"
        )
    if wanted and not jax.tree.leaves(importance):
        raise ValueError("the importance is an empty tree")
    gamma = jnp.asarray(gamma).astype(jnp.float32)

    def ended(state: Any) -> Any:
        if isinstance(state, FixedAnchor):
            return state
        now = laid_beside(state.cl_anchor, params, "parameters")
        _check_finite(now, "the parameters hold", "training")
        if isinstance(state, SynapticState):
            _check_importance(state.cl_path, "the importance of SI", path=True)
            anchor, omega = _synaptic(state, now, gamma, normalize=normalize)
            return state._replace(cl_anchor=anchor, cl_omega=omega, cl_path=zeros(state.cl_path))
        new = None
        if _takes_importance(state):
            new = laid_beside(state.cl_anchor, importance, "importances")
            _check_importance(new, f"the importance{covered(state.cl_anchor)}")
        return _merged(state, now, new, gamma, normalize=normalize)

    return map_anchored(ended, opt_state)


def penalty(opt_state: Any, params: Any) -> jax.Array:
    """The value of all penalties in force, as they were at the last update: float32 `[]`, 0 before the first task.

    Its gradient is what the coupled placement adds to gradients. ValueError as in `consolidate`.
    """
    total = jnp.zeros((), jnp.float32)
    for state in anchored_states(opt_state):
        now = laid_beside(state.cl_anchor, params, "parameters")
        spread = state.cl_spread if isinstance(state, ExactAnchors) else 0.0
        total += 0.5 * state.cl_strength * (quadratic(now, state.cl_anchor, state.cl_omega) + spread)
    return total


def _takes_importance(state: Any) -> bool:
    return isinstance(state, ExactAnchors | LatestAnchor) and state.cl_omega is not None


@partial(jax.jit, static_argnames="normalize")
def _merged(state: Any, params: Any, importance: Any, gamma: jax.Array, *, normalize: bool) -> Any:
    wide = jax.tree.map(lambda p: jnp.array(p, jnp.float32), params)
    scale = _scale(importance) if normalize else jnp.ones((), jnp.float32)
    if isinstance(state, ExactAnchors):
        return _added(state, wide, importance, gamma, scale)
    omega = state.cl_omega
    if omega is not None:
        omega = jax.tree.map(lambda o, f: gamma * o + scale * f.astype(jnp.float32), omega, importance)
    begun = jnp.copy(state.cl_count)  # of its own, so that the state can be donated
    return state._replace(cl_anchor=wide, cl_omega=omega, cl_begun=begun)


def _added(state: ExactAnchors, params: Any, importance: Any, gamma: jax.Array, scale: jax.Array) -> ExactAnchors:
    """Two quadratics as one: importances add up, the anchor is their weighted mean."""
    old = jax.tree.map(lambda o: gamma * o, state.cl_omega)
    new = jax.tree.map(lambda f: scale * f.astype(jnp.float32), importance)
    omega = jax.tree.map(jnp.add, old, new)
    share = jax.tree.map(lambda n, o: jnp.where(o > 0, n / jnp.where(o > 0, o, 1.0), 1.0), new, omega)
    # The first anchor is the parameters to the bit; rounded once a task after it.
    moved = lambda a, p, s: jnp.where(s < 1.0, a + s * (p - a), p)  # noqa: E731
    anchor = jax.tree.map(moved, state.cl_anchor, params, share)
    between = jax.tree.map(jnp.multiply, old, share)
    spread = gamma * state.cl_spread + quadratic(params, state.cl_anchor, between)
    return state._replace(cl_anchor=anchor, cl_omega=omega, cl_spread=spread)


@partial(jax.jit, static_argnames="normalize")
def _synaptic(state: SynapticState, params: Any, gamma: jax.Array, *, normalize: bool) -> tuple[Any, Any]:
    wide = jax.tree.map(lambda p: jnp.array(p, jnp.float32), params)

    def importance(path: jax.Array, now: jax.Array, start: jax.Array) -> jax.Array:
        return jnp.maximum(path, 0.0) / (jnp.square(now - start) + state.cl_xi)

    new = jax.tree.map(importance, state.cl_path, wide, state.cl_anchor)
    scale = _scale(new) if normalize else 1.0
    omega = jax.tree.map(lambda o, f: gamma * o + scale * f, state.cl_omega, new)
    return wide, omega


def _scale(importance: Any) -> jax.Array:
    """What makes the mean over a whole tree 1; 0 for a tree of zeros or of nothing."""
    leaves = [x for x in jax.tree.leaves(importance) if x.size]
    count = sum(x.size for x in leaves)
    mean = sum((x.astype(jnp.float32).mean() * (x.size / count) for x in leaves), jnp.zeros((), jnp.float32))
    return jnp.where(mean > 0, 1.0 / jnp.where(mean > 0, mean, 1.0), 0.0)


@jax.jit
def _least_and_most(leaves: list[Any]) -> jax.Array:
    leaves = [x.astype(jnp.float32) for x in leaves]
    # NaN goes through both, so that one of them shows it.
    return jnp.stack([jnp.stack([x.min() for x in leaves]).min(), jnp.stack([x.max() for x in leaves]).max()])


def _check_finite(tree: Any, holds: str, what: str) -> tuple[float, float] | None:
    """The least and the greatest entry; None where there is none or where they are traced."""
    leaves = [x for x in jax.tree.leaves(tree) if x.size]
    if not leaves or any(isinstance(x, Tracer) for x in leaves):
        return None
    least, most = (float(x) for x in _least_and_most(leaves))
    if not (math.isfinite(least) and math.isfinite(most)):
        raise ValueError(f"{holds} NaN or infinity: has the {what} diverged?")
    return least, most


def _check_importance(importance: Any, name: str, *, path: bool = False) -> None:
    found = _check_finite(importance, f"{name} holds", "training or the estimate")
    if found is None:
        return
    least, most = found
    if least < 0 and not path:
        raise ValueError(f"{name} has the negative entry {least:g}: the mean of squares or absolute values has none")
    if most <= 0:
        what = "no update since the last task has lowered the loss" if path else "there would be no penalty"
        raise ValueError(f"{name} is zero everywhere: {what}")


def _check_gamma(gamma: Any) -> None:
    if not isinstance(gamma, Tracer) and not (is_finite_number(gamma) and 0 < gamma <= 1):
        raise ValueError(f"gamma={gamma} must be in (0, 1]: what is left of the importance of earlier tasks")
