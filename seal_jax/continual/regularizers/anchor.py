"""A quadratic pull to an anchor: what EWC, MAS, L2-SP, RecAdam and SI share.

The penalty is `strength / 2 * sum(omega * (theta - anchor)^2)` with anchor and importance `omega` in the state of the
transform, where `consolidate` rewrites them between tasks. Until there is an importance, the pull is exactly zero.
A pull has one of three placements:

- `"proximal"`, the last of a chain (updates are steps, `theta + u`): the implicit step
  `anchor + (theta + u - anchor) / (1 + eta * strength * omega)`. Stable for any strength.
- `"decoupled"`, the last of a chain: `u - eta * strength * omega * (theta - anchor)`. Diverges where
  `eta * strength * omega > 2`.
- `"coupled"`, before the optimizer (updates are gradients): `u + strength * omega * (theta - anchor)`, the gradient of
  the penalty. Adam divides it by its own size, so that its strength is another scale. Clip before it, not after it.

Pulls are computed in float32, but a step is added in the dtype of the parameters: of bfloat16 ones, with 8 bits, a step
of less than about 1/500 of the parameter is lost to rounding. Keep what is trained, adapters or weights, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

Scalar: TypeAlias = jax.Array | float
LearningRate: TypeAlias = Scalar | Callable[[jax.Array], Any]

PLACEMENTS = ("proximal", "coupled", "decoupled")
LARGEST = 1e30  # of eta * strength * omega, so that no quotient is infinity by infinity


class ExactAnchors(NamedTuple):
    """The sum of the penalties of all tasks consolidated so far, in the memory of one.

    A sum of quadratics is a quadratic: `cl_omega` is the sum of the importances, `cl_anchor` their weighted mean of the
    anchors (trees like the parameters, float32), and `cl_spread` float32 `[]` what the anchors' distance from that mean
    adds to the sum. `cl_strength` float32 `[]`, of the pull in force; `cl_count` int32 `[]`, updates so far.
    """

    cl_anchor: Any
    cl_omega: Any
    cl_spread: jax.Array
    cl_strength: jax.Array
    cl_count: jax.Array


class LatestAnchor(NamedTuple):
    """The penalty around the parameters last consolidated. Fields as in `ExactAnchors`.

    `cl_omega` None stands for ones. `cl_begun` int32 `[]`: `cl_count` at the last consolidation.
    """

    cl_anchor: Any
    cl_omega: Any
    cl_strength: jax.Array
    cl_count: jax.Array
    cl_begun: jax.Array


class FixedAnchor(NamedTuple):
    """A penalty that consolidation leaves alone. Fields as in `LatestAnchor`."""

    cl_anchor: Any
    cl_omega: Any
    cl_strength: jax.Array
    cl_count: jax.Array


def exact_anchors(params: Any, strength: Scalar) -> ExactAnchors:
    """The state before the first task: no importance."""
    zero = jnp.zeros((), jnp.float32)
    return ExactAnchors(copied(params), zeros(params), zero, as_float(strength), jnp.zeros((), jnp.int32))


def latest_anchor(params: Any, strength: Scalar) -> LatestAnchor:
    """The state before the first task: no importance."""
    count, begun = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    return LatestAnchor(copied(params), zeros(params), as_float(strength), count, begun)


def anchored(
    begin: Callable[[Any, Scalar], Any], strength: Scalar, learning_rate: LearningRate | None, placement: str
) -> optax.GradientTransformationExtraArgs:
    """The transform that pulls with a constant strength; `begin(params, strength)` makes its state.

    Raises ValueError for a placement that does not exist or that lacks its learning rate.
    """
    check_placement(placement, learning_rate)

    def init(params: optax.Params) -> Any:
        return begin(params, strength)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra
        rate = rate_at(learning_rate, state.cl_count)
        pulled = pull(updates, params, state.cl_anchor, state.cl_omega, strength, rate, placement)
        return pulled, state._replace(cl_strength=as_float(strength), cl_count=optax.safe_increment(state.cl_count))

    return optax.GradientTransformationExtraArgs(init, update)


def pull(
    updates: Any, params: Any, anchor: Any, omega: Any, strength: Scalar, rate: Scalar | None, placement: str
) -> Any:
    """`updates` with the pull of `placement` added (see the module): computed in float32, in the dtypes of `updates`.

    rate: the learning rate of this step, not used if coupled. Raises ValueError without `params`.
    """
    if params is None:
        raise ValueError("a pull to an anchor needs the parameters: tx.update(gradients, opt_state, params)")
    weights = jax.tree.map(lambda _: 1.0, anchor) if omega is None else omega

    def leaf(u: jax.Array, p: jax.Array, a: jax.Array, w: jax.Array | float) -> jax.Array:
        distance = p.astype(jnp.float32) - a
        if placement == "coupled":
            return (u.astype(jnp.float32) + as_float(strength) * w * distance).astype(u.dtype)
        share = jnp.minimum(as_float(rate) * as_float(strength) * w, LARGEST)
        step = u.astype(jnp.float32) - share * distance
        return (step / (1.0 + share) if placement == "proximal" else step).astype(u.dtype)

    return jax.tree.map(leaf, updates, params, anchor, weights)


def quadratic(params: Any, anchor: Any, omega: Any) -> jax.Array:
    """`sum(omega * (theta - anchor)^2)` over a tree: float32 `[]`. omega None: ones."""
    squares = jax.tree.map(lambda p, a: jnp.square(p.astype(jnp.float32) - a), params, anchor)
    if omega is not None:
        squares = jax.tree.map(jnp.multiply, omega, squares)
    return sum((x.sum() for x in jax.tree.leaves(squares)), jnp.zeros((), jnp.float32))


def rate_at(learning_rate: LearningRate | None, count: jax.Array) -> Any:
    """The learning rate of the update number `count`, from 0."""
    return learning_rate(count) if callable(learning_rate) else learning_rate


def check_placement(placement: str, learning_rate: LearningRate | None) -> None:
    """Raise ValueError unless `placement` exists and has the learning rate that it needs."""
    if placement not in PLACEMENTS:
        raise ValueError(f"placement={placement!r} is not one of {', '.join(map(repr, PLACEMENTS))}")
    if learning_rate is None and placement != "coupled":
        raise ValueError(
            f"placement={placement!r} needs learning_rate, the one of the optimizer before it: a number, an array or a "
            'schedule; placement="coupled" does without'
        )
    if learning_rate is not None and not callable(learning_rate):
        check_not_negative("learning_rate", learning_rate)


def check_not_negative(name: str, value: Scalar, *, positive: bool = False) -> None:
    """Raise ValueError unless a setting is a finite number `[]`, at least 0. A traced one is not looked at."""
    if isinstance(value, Tracer):
        return
    if not is_finite_number(value) or value < 0 or (positive and value == 0):
        shown = repr(value) if isinstance(value, str) else value
        wanted = "above 0" if positive else "at least 0"
        raise ValueError(f"{name}={shown} must be one finite number {wanted}; for several at once use jax.vmap")


def is_finite_number(value: Any) -> bool:
    """True for one real number, or an array `[]` of one, that is neither NaN nor infinity."""
    found = np.asarray(value)
    real = jnp.issubdtype(found.dtype, jnp.floating) or jnp.issubdtype(found.dtype, jnp.integer)
    return found.shape == () and real and math.isfinite(found)


def as_float(value: Any) -> jax.Array:
    """A setting as a float32 array."""
    return jnp.asarray(value).astype(jnp.float32)


def copied(tree: Any) -> Any:
    """The tree in float32, in memory of its own, so that the parameters can be donated."""
    return jax.tree.map(lambda x: jnp.array(x, jnp.float32), tree)


def zeros(tree: Any) -> Any:
    """A tree like this one of float32 zeros."""
    return jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), tree)
