"""The transforms that `test_conformance` holds to one list of properties. A row buys all of them.

Write a row for a new transform: how to make a whole optimizer of it, and what its updates and task ends are given. A
row with a `formula`, the penalty in plain terms of the tasks so far, has the pull itself checked as well.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seal_jax import continual
from seal_jax.continual import projections

RATE = 0.05
STRENGTH = 3.0
RECALLED = 1.0 / (1.0 + math.exp(0.5))  # RecAdam's share of the task at its step 1, for k=0.5 and t0=2


def nothing(params: Any, step: jax.Array) -> dict[str, Any]:
    """No extra arguments."""
    return {}


def keep(opt_state: Any, params: Any, importance: Any) -> Any:
    """Nothing happens at the end of a task."""
    return opt_state


def consolidated(opt_state: Any, params: Any, importance: Any) -> Any:
    """Importances as they are, so that parts of a tree can be compared with the whole."""
    return continual.consolidate(opt_state, params, importance, 0.5, normalize=False)


def moved(opt_state: Any, params: Any, importance: Any) -> Any:
    """Of regularizers that take no importance."""
    return continual.consolidate(opt_state, params, normalize=False)


class Row(NamedTuple):
    """name; make: a strength -> a whole optimizer (a row without strength ignores it).

    alone: a strength -> the transform by itself where it can stand outside of the optimizer, for its pull. end:
    `(opt_state, params, importance) -> opt_state`. extras: `(params, step) -> extra arguments` of an update; `params`
    may be a part of the tree. formula: `(params, history, strength) -> penalty`, history a list of (params,
    importance) of the tasks that have ended; placement: where a row with a formula pulls; scale: what its updates
    are multiplied by besides, at the first step of a task.
    """

    name: str
    make: Callable[[Any], Any]
    end: Callable[[Any, Any, Any], Any] = keep
    extras: Callable[[Any, jax.Array], dict[str, Any]] = nothing
    formula: Callable[[Any, list[Any], Any], Any] | None = None
    alone: Callable[[Any], Any] | None = None
    placement: str = ""
    scale: float = 1.0


def inner() -> optax.GradientTransformation:
    """An optimizer with a state."""
    return optax.sgd(RATE, momentum=0.5)


def weighted(params: Any, anchor: Any, importance: Any) -> jax.Array:
    """`sum(importance * (params - anchor)^2)`."""
    terms = jax.tree.map(lambda p, a, f: (f * (p - a) ** 2).sum(), params, anchor, importance)
    return sum(jax.tree.leaves(terms), jnp.float32(0.0))


def every_anchor(params: Any, history: list[Any], strength: Any) -> Any:
    """EWC: each task pulls to where it ended; `consolidated` halves earlier ones at each end."""
    ages = range(len(history) - 1, -1, -1)
    return sum(0.5 * strength * 0.5**age * weighted(params, *ended) for age, ended in zip(ages, history, strict=True))


def latest_anchor(params: Any, history: list[Any], strength: Any) -> Any:
    """Online EWC: the importances of all tasks, around the end of the last."""
    ages = range(len(history) - 1, -1, -1)
    pairs = zip(ages, history, strict=True)
    return sum(0.5 * strength * 0.5**age * weighted(params, history[-1][0], ended[1]) for age, ended in pairs)


def mas_formula(params: Any, history: list[Any], strength: Any) -> Any:
    """Without the half."""
    return 2.0 * latest_anchor(params, history, strength)


def start_formula(params: Any, history: list[Any], strength: Any) -> Any:
    """L2-SP."""
    anchor = history[-1][0]
    return 0.5 * strength * weighted(params, anchor, jax.tree.map(jnp.ones_like, anchor))


def annealed_formula(params: Any, history: list[Any], strength: Any) -> Any:
    """RecAdam at the first step of a task, with `k=0.5, t0=2`."""
    return (1.0 - RECALLED) * start_formula(params, history, strength)


def pulling(name: str, regularizer: Any, formula: Any, end: Any = consolidated, scale: float = 1.0) -> list[Row]:
    """The three placements of a regularizer."""

    def alone(placement: str, strength: Any) -> Any:
        return regularizer(strength, None if placement == "coupled" else RATE, placement)

    def make(placement: str, strength: Any) -> Any:
        pull = alone(placement, strength)
        return optax.chain(*((pull, inner()) if placement == "coupled" else (inner(), pull)))

    return [
        Row(f"{name}-{p}", partial(make, p), end, nothing, formula, partial(alone, p), p, scale)
        for p in ("proximal", "coupled", "decoupled")
    ]


def si(strength: Any, placement: str) -> Any:
    """The wrapper around the same inner optimizer."""
    return continual.si(inner(), strength, None if placement == "coupled" else RATE, placement=placement)


def recalled(params: Any, step: Any) -> dict[str, Any]:
    """A-GEM's: some gradient of the memory."""
    return {"memory_grad": jax.tree.map(lambda p: jnp.cos(3.0 * p + jnp.asarray(step).astype(p.dtype)), params)}


def recalled_by_task(params: Any, step: Any) -> dict[str, Any]:
    """GEM's, of two tasks of which the second has a memory from step 1 on."""
    first, second = (recalled(params, step + k)["memory_grad"] for k in range(2))
    return {
        "memory_grads": jax.tree.map(lambda *x: jnp.stack(x), first, second),
        "filled": jnp.stack([jnp.bool_(True), jnp.asarray(step) > 0]),
    }


def spanned(opt_state: Any, params: Any, importance: Any) -> Any:
    """The importances of matrices `[..., in, n]` as GPM's inputs, of those that it has a basis for."""
    bases, inputs = projections.basis_ranks(opt_state), {}
    projections.trees.with_paths(lambda path, x: inputs.update({path: x}), importance)
    inputs = {path: jnp.swapaxes(x, -1, -2) for path, x in inputs.items() if path in bases}
    return continual.extend_basis(opt_state, inputs, 0.5)


def directed(opt_state: Any, params: Any, importance: Any) -> Any:
    """The importances as one of OGD's gradients."""
    return continual.extend_directions(opt_state, jax.tree.map(lambda x: x[None], importance))


def held(opt_state: Any, params: Any, importance: Any) -> Any:
    """O-LoRA's end of a task."""
    return continual.extend_frozen(opt_state, params)


def masked(opt_state: Any, params: Any, importance: Any) -> Any:
    """The more important, the slower."""
    return continual.set_grad_mask(opt_state, jax.tree.map(lambda x: 1.0 / (1.0 + x), importance))


def matrices(path: str, leaf: Any) -> bool:
    """What O-LoRA's rows keep orthogonal here."""
    return leaf.ndim >= 2


def stacks(tree: Any) -> Any:
    """What the freezing row freezes."""
    return jax.tree.map(lambda x: x.ndim == 3, tree)


PROJECTIONS = [
    Row("agem", lambda _: optax.chain(continual.agem(), inner()), extras=recalled),
    Row("gem", lambda _: optax.chain(continual.gem(2), inner()), extras=recalled_by_task),
    Row("gpm", lambda _: optax.chain(continual.gpm(3), inner(), continual.gpm(3)), spanned),
    Row("ogd", lambda _: optax.chain(continual.ogd(4), inner()), directed),
    *(
        Row(
            f"olora-{n}",
            lambda lam, n=n, share=share: optax.chain(continual.olora(share * lam, 12, n, select=matrices), inner()),
            held,
        )
        for n, share in (("normalised", 1.0), ("squared", 0.01), ("l1", 0.01))  # sums over all pairs are large
    ),
    Row("olora_project", lambda _: optax.chain(inner(), continual.olora_project(12, matrices)), held),
    Row("freeze_mask", lambda _: optax.chain(inner(), continual.freeze_mask(stacks))),
    Row("grad_mask", lambda _: optax.chain(inner(), continual.grad_mask()), masked),
]


ROWS = [
    *pulling("ewc", continual.ewc, every_anchor),
    *pulling("online_ewc", continual.online_ewc, latest_anchor),
    *pulling("mas", continual.mas, mas_formula),
    *pulling("l2_sp", continual.l2_sp, start_formula, moved),
    *pulling("rec_adam", partial(continual.rec_adam, k=0.5, t0=2.0), annealed_formula, moved, RECALLED),
    *(Row(f"si-{p}", partial(si, placement=p), moved, placement=p) for p in ("proximal", "coupled", "decoupled")),
    *PROJECTIONS,
]
