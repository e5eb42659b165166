"""Orthogonal gradient descent (arXiv 1910.07104): updates orthogonal to the gradients of remembered predictions."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from seal_jax.continual.projections.trees import combined, dots, restricted, rewrite

logger = logging.getLogger(__name__)


class OgdState(NamedTuple):
    """`cl_directions`: orthonormal trees, float32 leaves `[directions, ...]`, zeros where there is none yet."""

    cl_directions: Any


def ogd(directions: int) -> optax.GradientTransformationExtraArgs:
    """Updates u as u - sum over v of <u, v> v, for the directions v that `extend_directions` has added.

    directions: the most there are, allocated at once, each as large as the parameters: for adapters, not for all
    weights. Inner products run over the whole tree in float32; updates keep their dtype. Put it first (gradient sign)
    as published, and last as well where updates have to keep to it in spite of Adam.
    """
    if directions < 1:
        raise ValueError(f"ogd needs directions of 1 or more, got {directions}")

    def init(params: optax.Params) -> OgdState:
        return OgdState(jax.tree.map(lambda p: jnp.zeros((directions, *p.shape), jnp.float32), params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, OgdState]:
        del params, extra_args
        inside = combined(dots(state.cl_directions, updates), state.cl_directions)
        return jax.tree.map(lambda u, x: (u.astype(jnp.float32) - x).astype(u.dtype), updates, inside), state

    return optax.GradientTransformationExtraArgs(init, update)


def extend_directions(opt_state: Any, gradients: Any, tolerance: float = 1e-3) -> Any:
    """The optimizer state whose `ogd` directions also span m gradients, a tree with leaves `[m, ...]`.

    gradients: of the logit of the right answer at remembered examples, with respect to the parameters of the end of the
    task. Each is made orthogonal to all before it and left out if less than `tolerance` of its norm remains. Those that
    find no room are left out too, and a warning says so. Pure, and may be traced. Raises ValueError for another tree.
    """

    def change(state: OgdState) -> OgdState:
        like = jax.tree.map(lambda x: x[0], state.cl_directions)
        rows = restricted(gradients, like, "gradients", stacked=True)
        directions, missing = orthonormalised(state.cl_directions, rows, tolerance)
        if not isinstance(missing, Tracer) and missing > 0:
            logger.warning("%d directions found no room: ogd was made for fewer", missing)
        return OgdState(directions)

    return rewrite(opt_state, OgdState, change)


def orthonormalised(known: Any, rows: Any, tolerance: Any) -> tuple[Any, jax.Array]:
    """Orthonormal trees, leaves `[n, ...]` with zeros at the end, to which rows `[m, ...]` are added by Gram-Schmidt.

    Rows of which less than `tolerance` remains are in the span and add nothing. Returns also how many others found no
    room, int32 `[]`. Both trees float32.
    """
    rows = jax.tree.map(lambda x: x.astype(jnp.float32), rows)
    known, missing = jax.lax.scan(lambda known, row: _with(known, row, tolerance), known, rows)
    return known, missing.sum()


def _with(known: Any, row: Any, tolerance: Any) -> tuple[Any, jax.Array]:
    rest = row
    for _ in range(2):  # once leaves rounding errors of the size of the row
        rest = jax.tree.map(jnp.subtract, rest, combined(dots(known, rest), known))
    norm = jnp.sqrt(dots(rest, rest, axes=0))
    new = norm > tolerance * jnp.sqrt(dots(row, row, axes=0))
    scale = jnp.where(new, 1.0 / jnp.where(new, norm, 1.0), 0.0)
    empty = jax.vmap(lambda v: dots(v, v, axes=0))(known) < 0.5  # the squared norms of directions are 1 or 0
    at = empty & (jnp.arange(len(empty)) == jnp.argmax(empty)) & new

    def put(x: jax.Array, r: jax.Array) -> jax.Array:
        return jnp.where(at.reshape(-1, *[1] * r.ndim), scale * r[None], x)

    return jax.tree.map(put, known, rest), (new & ~empty.any()).astype(jnp.int32)
