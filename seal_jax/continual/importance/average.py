"""Means over data of squares or sizes of gradients, by rows or by batches, in the memory of one gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.core import Tracer

from seal_jax.continual.regularizers.anchor import zeros

Batches: TypeAlias = Mapping[str, Any] | Iterable[Mapping[str, Any]]
# (what is differentiated, what is not, batch, keys [B]) -> the sum of a quantity over a batch and its number of terms
Objective: TypeAlias = Callable[[Any, Any, Any, jax.Array], tuple[jax.Array, jax.Array]]


class Program(NamedTuple):
    """The static choices: by_rows: a gradient for each row, else for each batch; measure: a name in `MEASURES`."""

    objective: Objective
    by_rows: bool
    measure: str
    draws: int = 1


# Of a gradient summed over n terms. Divided by the number of all terms, their sum is the mean over terms of the square
# (if the terms of a group are independent with mean zero), the mean over groups of the squared mean, or of the size.
MEASURES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "square": lambda g, n: jnp.square(g),
    "square_of_mean": lambda g, n: jnp.square(g) / jnp.maximum(n, 1.0),
    "size": lambda g, n: jnp.abs(g),
}


def averaged(program: Program, wrt: Any, held: Any, batches: Batches, key: jax.Array) -> Any:
    """The sum of the measure over all rows or batches, divided by the number of terms: a float32 tree like `wrt`.

    batches: an iterable of dicts of arrays `[B, ...]`, read once, compiled once per shape; or one dict of arrays
    `[S, B, ...]`, scanned in one program, which can be traced. Row i of the stream has the key `fold_in(key, i)`.
    held: arrays that the objective needs besides. ValueError if there are no terms at all.
    """
    if program.draws < 1:
        raise ValueError(f"draws={program.draws}: labels must be drawn at least once")
    sums = (zeros(wrt), jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))
    if isinstance(batches, Mapping):
        sums = _over_stack(sums, wrt, held, dict(batches), key, program=program)
    else:
        for batch in batches:
            sums = _over_batch(sums, wrt, held, dict(batch), key, program=program)
    total, count, _ = sums
    if not isinstance(count, Tracer) and not count > 0:
        raise ValueError("the batches hold no targets to estimate an importance from: none at all, or all masked out")
    return jax.tree.map(lambda x: x / jnp.maximum(count, 1.0), total)


@partial(jax.jit, static_argnames="program")
def _over_stack(sums: Any, wrt: Any, held: Any, batches: Any, key: jax.Array, *, program: Program) -> Any:
    def step(sums: Any, batch: Any) -> tuple[Any, None]:
        return _added(program, sums, wrt, held, batch, key), None

    return jax.lax.scan(step, sums, batches)[0]


@partial(jax.jit, static_argnames="program", donate_argnames="sums")
def _over_batch(sums: Any, wrt: Any, held: Any, batch: Any, key: jax.Array, *, program: Program) -> Any:
    return _added(program, sums, wrt, held, batch, key)


def _added(program: Program, sums: Any, wrt: Any, held: Any, batch: Any, key: jax.Array) -> Any:
    *begun, seen = sums
    rows = jax.tree.leaves(batch)[0].shape[0]
    keys = jax.vmap(partial(jax.random.fold_in, key))(seen + jnp.arange(rows))
    differentiate = jax.value_and_grad(program.objective, has_aux=True)

    def group(sums: Any, item: Any) -> tuple[Any, None]:
        part, part_keys = item
        (_, terms), gradient = differentiate(wrt, held, part, part_keys)
        measure = MEASURES[program.measure]
        total = jax.tree.map(lambda t, g: t + measure(g.astype(jnp.float32), terms), sums[0], gradient)
        return (total, sums[1] + terms), None

    def draw(sums: Any, index: jax.Array) -> tuple[Any, None]:
        drawn = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        if program.by_rows:
            return jax.lax.scan(group, sums, jax.tree.map(lambda x: x[:, None], (batch, drawn)))
        return group(sums, (batch, drawn))

    total, count = jax.lax.scan(draw, tuple(begun), jnp.arange(program.draws))[0]
    return total, count, seen + rows
