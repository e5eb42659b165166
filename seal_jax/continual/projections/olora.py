"""O-LoRA (arXiv 2310.14152): a task's LoRA factors `a` orthogonal to those of the tasks before.

`a` is `[..., in, r]` here, the transpose of the paper's A, so its columns are to be orthogonal. Earlier adapters go on
working, frozen, as the `held_a`, `held_b` of the entries that are trained: `hold` (held.py) puts them there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from seal_jax.continual.projections.gpm import NOISE, Select, without
from seal_jax.continual.projections.ogd import orthonormalised
from seal_jax.continual.projections.trees import is_masked, restricted, rewrite, with_paths
from seal_jax.continual.regularizers.anchor import check_not_negative

NORMS = ("l1", "squared", "normalised")


class OloraState(NamedTuple):
    """`cl_frozen`: columns of earlier factors, float32 `[..., in, columns]`, zeros where there is none yet."""

    cl_frozen: Any


class OloraBasis(NamedTuple):
    """`cl_span`: an orthonormal basis of earlier factors, float32 `[..., in, columns]`, zeros where empty."""

    cl_span: Any


def olora(
    lam: Any, columns: int, norm: str = "normalised", shrink: float = 0.0, select: Select | None = None
) -> optax.GradientTransformationExtraArgs:
    """Adds the gradient of `lam * overlap(...)` to that of the loss: put it before Adam (gradient sign).

    lam: a number or an array `[]`. columns: of all earlier factors of a leaf together, allocated at once: r a task.
    norm: see `overlap`; with "normalised" a lam carries over between models, ranks and numbers of tasks.
    shrink: times the sum of Frobenius norms of all leaves, the released code's second weight. select: `(path, leaf) ->
    bool`, the leaves to be kept orthogonal (default: those named "a"). Until `extend_frozen` there is no penalty.

    Raises ValueError for an unknown norm, columns below 1, and a lam or shrink that is not one finite
    number of at least 0.
    """
    _check_settings(lam, shrink, columns, norm)
    zeros = _factors(columns, select)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
        del extra_args
        if params is None:
            raise ValueError("olora needs the parameters: call update(updates, state, params)")

        def penalty(params: Any) -> jax.Array:
            return lam * overlap(params, state.cl_frozen, norm) + shrink * _norms(params)

        gradient = jax.grad(penalty)(jax.tree.map(lambda p: p.astype(jnp.float32), params))
        return jax.tree.map(lambda u, g: (u.astype(jnp.float32) + g).astype(u.dtype), updates, gradient), state

    return optax.GradientTransformationExtraArgs(lambda params: OloraState(with_paths(zeros, params)), update)


def olora_project(columns: int, select: Select | None = None) -> optax.GradientTransformationExtraArgs:
    """Steps after which `a` has no part in the span of earlier factors: put it last (step sign).

    `u` becomes (I - QQ')(a + u) - a with Q an orthonormal basis of all earlier columns. Unlike a penalty it needs no
    weight and cannot be met by letting `a` vanish. columns, select: as in `olora`. Nothing changes until
    `extend_frozen`.
    """
    _check_settings(0.0, 0.0, columns, "normalised")
    zeros = _factors(columns, select)

    def step(basis: Any, update: Any, param: Any) -> Any:
        if is_masked(basis):
            return update
        exact = param.astype(jnp.float32)
        return (without(basis, exact + update.astype(jnp.float32)) - exact).astype(update.dtype)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
        del extra_args
        if params is None:
            raise ValueError("olora_project needs the parameters: call update(updates, state, params)")
        return jax.tree.map(step, state.cl_span, updates, params, is_leaf=is_masked), state

    return optax.GradientTransformationExtraArgs(lambda params: OloraBasis(with_paths(zeros, params)), update)


def overlap(params: Any, frozen: Any, norm: str = "normalised") -> jax.Array:
    """How far factors `a [..., in, r]` are from orthogonal to frozen columns `[..., in, c]` in a tree: float32 `[]`.

    With O = frozen' a: norm "l1" is the sum of all |O| (the released code), "squared" the sum of all O^2 (the paper),
    "normalised" the mean of squared cosines between columns, over all modules, layers and pairs, in [0, 1]. Leaves that
    are masked in `frozen` do not count, nor, in the mean, columns of zeros, which are places for tasks to come.
    """

    def one(old: Any, a: Any) -> tuple[jax.Array, jax.Array]:
        if is_masked(old):
            return jnp.float32(0.0), jnp.float32(0.0)
        a = a.astype(jnp.float32)
        if norm == "normalised":
            old, a = _unit(old), _unit(a)
        products = jnp.matmul(jnp.swapaxes(old, -1, -2), a, precision="highest")
        pairs = (jnp.square(old).sum(axis=-2) > 0).sum(dtype=jnp.float32) * a.shape[-1]
        return (_magnitude(products) if norm == "l1" else jnp.square(products)).sum(), pairs

    found = jax.tree.leaves(jax.tree.map(one, frozen, params, is_leaf=is_masked))
    total, pairs = _sum(found[::2]), _sum(found[1::2])
    return total / jnp.maximum(pairs, 1.0) if norm == "normalised" else total


def extend_frozen(opt_state: Any, params: Any) -> Any:
    """The optimizer state in which the factors `a` of `params`, of a task that ends, count as frozen.

    Rewrites all states of `olora` and `olora_project`; the factors take the first empty columns. Pure, and may be
    traced. Raises ValueError for another tree, if there is no such state, or, of values that are not traced, if there
    are not columns enough: where they may be traced, ask `check_frozen` before, since what has no room is left out.
    """

    def append(path: str, old: jax.Array, a: Any) -> jax.Array:
        return _appended(path, old, a.astype(jnp.float32))

    def span(path: str, old: jax.Array, a: Any) -> jax.Array:
        grow = _spanned
        for _ in old.shape[:-2]:
            grow = jax.vmap(grow)
        basis, missing = grow(old, a)
        _check_room(path, missing, old.shape[-1])
        return basis

    def change(state: Any) -> Any:
        (kept,) = state
        grow = append if isinstance(state, OloraState) else span
        return type(state)(with_paths(grow, kept, laid_beside(kept, params)))

    return rewrite(opt_state, (OloraState, OloraBasis), change)


def check_frozen(opt_state: Any, params: Any, held: int) -> None:
    """Raise ValueError unless every state of `olora` and `olora_project` has columns for `held` adapters like `params`.

    Only shapes are looked at. An orthonormal basis never needs more columns than a factor has rows. ValueError too if
    there is no such state.
    """

    def change(state: Any) -> Any:
        def check(path: str, old: jax.Array, a: Any) -> None:
            most = old.shape[-2] if isinstance(state, OloraBasis) else held * a.shape[-1]
            needed = min(held * a.shape[-1], most)
            _refuse_columns(path, needed - old.shape[-1], old.shape[-1], f": this stream needs {needed}")

        (kept,) = state
        with_paths(check, kept, laid_beside(kept, params))
        return state

    rewrite(opt_state, (OloraState, OloraBasis), change)


def laid_beside(kept: Any, params: Any) -> Any:
    """The leaves of `params` that have columns in `kept`; ValueError where the trees or the sizes differ."""
    fits = restricted(params, kept, "the adapter", compare=False)

    def check(path: str, old: jax.Array, a: Any) -> None:
        if a.shape[:-1] != old.shape[:-1]:
            raise ValueError(f"the adapter at {path} has shape {a.shape}; the columns kept have {old.shape}")

    with_paths(check, kept, fits)
    return fits


def _appended(path: str, old: jax.Array, a: jax.Array) -> jax.Array:
    both = jnp.concatenate([old, a], axis=-1)
    taken = jnp.square(both).sum(axis=-2) > 0
    _check_room(path, taken.sum(axis=-1) - old.shape[-1], old.shape[-1])
    places = jnp.argsort(~taken, axis=-1, stable=True)[..., None, : old.shape[-1]]
    return jnp.take_along_axis(both, places, axis=-1)


def _spanned(basis: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """An orthonormal basis `[in, k]` with the columns of `a [in, r]` added, and how many found no room."""
    rows, missing = orthonormalised(basis.T, a.T, NOISE)
    return rows.T, missing


def _check_room(path: str, missing: jax.Array, columns: int) -> None:
    if not isinstance(missing, Tracer):
        _refuse_columns(path, int(missing.max()), columns)


def _refuse_columns(path: str, missing: int, columns: int, needed: str = "") -> None:
    if missing > 0:
        raise ValueError(
            f"{path}: no room for {missing} more; make the transform with more columns than {columns}{needed}"
        )


def _factors(columns: int, select: Select | None) -> Callable[[str, Any], Any]:
    select = _named_a if select is None else select

    def zeros(path: str, x: Any) -> Any:
        return jnp.zeros((*x.shape[:-1], columns), jnp.float32) if select(path, x) else optax.MaskedNode()

    return zeros


def _named_a(path: str, leaf: Any) -> bool:
    return path.split("/")[-1] == "a" and leaf.ndim >= 2


def _magnitude(x: jax.Array) -> jax.Array:
    """|x| with the gradient sign(x), which is 0 at 0 where JAX has 1."""
    return x * jax.lax.stop_gradient(jnp.sign(x))


def _unit(x: jax.Array) -> jax.Array:
    square = jnp.square(x).sum(axis=-2, keepdims=True)
    return x / jnp.sqrt(jnp.where(square > 0, square, 1.0))


def _norms(params: Any) -> jax.Array:
    """The sum of the Frobenius norms of all matrices, of which stacked leaves hold several."""

    def norm(x: jax.Array) -> jax.Array:
        square = jnp.square(x).sum(axis=(-2, -1)[-min(x.ndim, 2) :] if x.ndim else None)
        return jnp.sqrt(jnp.where(square > 0, square, 1.0)).sum(where=square > 0)  # no NaN in the gradient at 0

    return _sum([norm(x) for x in jax.tree.leaves(params)])


def _sum(numbers: list[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, numbers, jnp.float32(0.0))


def _check_settings(lam: Any, shrink: Any, columns: int, norm: str) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r} is not one of {', '.join(map(repr, NORMS))}")
    if columns < 1:
        raise ValueError(f"O-LoRA needs columns of 1 or more for the factors of earlier tasks, got {columns}")
    check_not_negative("lam", lam)
    check_not_negative("shrink", shrink)
