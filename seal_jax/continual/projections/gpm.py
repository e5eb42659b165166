"""Gradient projection memory (arXiv 2103.09762): a layer's update is orthogonal to what earlier tasks put into it.

With M an orthonormal basis `[in, k]` of a layer's past inputs, the update of a kernel `[in, out]` loses M M'u, so that
the layer's outputs for those inputs stay what they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from seal_jax.continual.projections.trees import is_masked, rewrite, with_paths

logger = logging.getLogger(__name__)

Select: TypeAlias = Callable[[str, Any], bool]
NOISE = 1e-5  # singular values below this share of the norm of the inputs are rounding of float32


class GpmState(NamedTuple):
    """`cl_basis`: of each kernel `[..., in, out]` orthonormal columns, float32 `[..., in, k]`, zeros where empty."""

    cl_basis: Any


def gpm(columns: int, select: Select | None = None) -> optax.GradientTransformationExtraArgs:
    """Updates u of kernels `[..., in, out]` as u - M M'u. Until `extend_basis` is called, nothing is taken away.

    columns: the most that a basis can hold, at most `in` of them; all are allocated at once, so that a stream of tasks
    is one program. select: `(path, leaf) -> bool`, which leaves have a basis (default: those of two axes or more); the
    others pass. Paths are those of `extend_basis`. Choose few: the memory is in * columns for each kernel.

    Put it first (gradient sign) as published. Adam's preconditioner and moments leave the subspace again, and so does
    weight decay: for updates that keep to it exactly, put it last as well, `optax.chain(gpm(k), adam, gpm(k))`.
    Of LoRA, the basis is that of `a`'s inputs x: x a stays what it is, while `b` still changes what comes of it. For a
    guarantee start each task with a fresh adapter (`hold`) whose `a` is `orthogonal_start`: then x a is and stays 0.
    """
    if columns < 1:
        raise ValueError(f"gpm needs columns of 1 or more, got {columns}")
    select = _matrices if select is None else select

    def empty(path: str, x: Any) -> Any:
        if not select(path, x):
            return optax.MaskedNode()
        return jnp.zeros((*x.shape[:-1], min(columns, x.shape[-2])), jnp.float32)

    def init(params: optax.Params) -> GpmState:
        return GpmState(with_paths(empty, params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, GpmState]:
        del params, extra_args
        return jax.tree.map(without, state.cl_basis, updates, is_leaf=is_masked), state

    return optax.GradientTransformationExtraArgs(init, update)


def without(basis: Any, update: Any) -> Any:
    """`u - M M'u` in float32, in the dtype of `u`; a masked basis takes nothing away."""
    if is_masked(basis):
        return update
    exact = update.astype(jnp.float32)
    inside = jnp.matmul(jnp.swapaxes(basis, -1, -2), exact, precision="highest")
    return (exact - jnp.matmul(basis, inside, precision="highest")).astype(update.dtype)


def extend_basis(opt_state: Any, inputs: Mapping[str, jax.Array], threshold: float = 0.97) -> Any:
    """The optimizer state whose `gpm` bases also span the inputs of the task that ends.

    inputs: for some of the leaves, by path, samples of what was multiplied with them, float `[..., n, in]` with the
    leading axes of the kernel `[..., in, out]`: "w1", "layers/mlp/up_proj/kernel" for weights, and with "/a" for LoRA
    (see `layer_inputs`). threshold: the share of the inputs' squared norm that a basis has to hold; directions are
    added in the order of what they hold until it does. Where `columns` are too few, the least are left out, and a
    warning says so. Pure, and may be traced.

    Raises ValueError for a path without a basis, inputs of another shape, or a threshold outside (0, 1].
    """
    if not isinstance(threshold, Tracer) and not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold} is not in (0, 1]")

    bases = _bases(opt_state)
    for path, rows in inputs.items():
        _check(path, rows, bases)

    def extend(path: str, basis: Any) -> Any:
        return _grown(path, basis, inputs[path], threshold) if path in inputs else basis

    return rewrite(opt_state, GpmState, lambda state: GpmState(with_paths(extend, state.cl_basis)))


def orthogonal_start(opt_state: Any, params: Any) -> Any:
    """`params` without what lies in their `gpm` bases, p - M M'p, for fresh parameters that are to stay out of it.

    Pure, and may be traced. Leaves without a basis stay. ValueError if there is no `gpm` in the state.
    """
    bases = _bases(opt_state)
    return with_paths(lambda path, p: without(bases.get(path, optax.MaskedNode()), p), params)


def basis_ranks(opt_state: Any) -> dict[str, jax.Array]:
    """How many columns of each `gpm` basis are taken, by path: int32 of the kernel's leading axes `[...]`."""
    return {path: _filled(basis).sum(axis=-1) for path, basis in _bases(opt_state).items()}


def _bases(opt_state: Any) -> dict[str, jax.Array]:
    """Every basis by path, of all `gpm` states; a path that several have, once."""
    found: dict[str, jax.Array] = {}

    def visit(state: GpmState) -> GpmState:
        with_paths(lambda path, basis: found.setdefault(path, basis), state.cl_basis)
        return state

    rewrite(opt_state, GpmState, visit)
    return found


def extended(basis: jax.Array, rows: jax.Array, threshold: Any) -> tuple[jax.Array, jax.Array]:
    """One basis `[in, k]` with the directions that samples `[n, in]` add, and how many found no room, int32 `[]`."""
    rows = rows.astype(jnp.float32)
    total = jnp.square(rows).sum()
    inside = jnp.matmul(rows, basis, precision="highest")
    rest = _outside(_outside(rows, basis), basis)  # twice: once leaves rounding errors of the size of the inputs
    _, values, directions = jnp.linalg.svd(rest, full_matrices=False)
    held = jnp.square(inside).sum() + jnp.cumsum(jnp.square(values)) - jnp.square(values)  # before each direction
    wanted = (held < threshold * total) & (values > NOISE * jnp.sqrt(total))
    candidates = jnp.concatenate([basis, directions.T * wanted.astype(jnp.float32)[None]], axis=-1)
    taken = jnp.concatenate([_filled(basis), wanted])
    places = jnp.argsort(~taken, stable=True)[: basis.shape[-1]]
    return candidates[:, places], jnp.maximum(taken.sum() - basis.shape[-1], 0)


def _outside(rows: jax.Array, basis: jax.Array) -> jax.Array:
    return rows - jnp.matmul(jnp.matmul(rows, basis, precision="highest"), basis.T, precision="highest")


def _grown(path: str, basis: jax.Array, rows: jax.Array, threshold: Any) -> jax.Array:
    grow = lambda basis, rows: extended(basis, rows, threshold)  # noqa: E731
    for _ in basis.shape[:-2]:
        grow = jax.vmap(grow)
    basis, missing = grow(basis, jnp.asarray(rows))
    if not isinstance(missing, Tracer) and missing.any():
        logger.warning("%s: %d directions found no room in a basis of %d", path, missing.max(), basis.shape[-1])
    return basis


def _filled(basis: jax.Array) -> jax.Array:
    return jnp.square(basis).sum(axis=-2) > 0.5


def _matrices(path: str, leaf: Any) -> bool:
    del path
    return leaf.ndim >= 2


def _check(path: str, rows: Any, known: dict[str, Any]) -> None:
    if path not in known:
        raise ValueError(f"gpm keeps no basis for {path!r}; it has {', '.join(map(repr, known)) or 'none'}")
    *lead, width, _ = known[path].shape
    if rows.ndim != len(lead) + 2 or rows.shape[:-2] != tuple(lead) or rows.shape[-1] != width:
        raise ValueError(f"{path}: inputs of shape {rows.shape}; this kernel needs {(*lead, 'n', width)}")
