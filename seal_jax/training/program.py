"""The static choices of a compiled fine-tune, and the checks before one is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from seal_jax.training.loss import Batch
from seal_jax.training.optim import Hyper
from seal_jax.training.trainable import AttachFn

Optimizer: TypeAlias = optax.GradientTransformation | Callable[[Hyper], optax.GradientTransformation]


class Program(NamedTuple):
    """The static choices of a compiled fine-tune."""

    config: Any
    tx: Optimizer
    loss_fn: Any
    attach_fn: AttachFn
    batched: bool
    lengths: tuple[int, ...] = ()
    accumulate: int = 1


def with_lengths(program: Program, batches: Batch, lengths: Any, among: Any = ()) -> tuple[Program, jax.Array]:
    """The distinct step lengths as a static choice, and for each step which of them it has: int32 `[S]`.

    among: lengths of other segments, which are to share the program.
    """
    steps = jnp.shape(next(iter(batches.values())))[1 if program.batched else 0]
    if lengths is None:
        return program, jnp.zeros((steps,), jnp.int32)
    lengths = np.asarray(lengths)
    most = batches["tokens"].shape[-1]
    if lengths.shape != (steps,) or lengths.min() < 1 or lengths.max() > most:
        raise ValueError(f"lengths must be [S]={steps} numbers from 1 to T={most}, got {lengths.shape} {lengths}")
    distinct = np.union1d(lengths, np.asarray(among, lengths.dtype))
    return program._replace(lengths=tuple(int(n) for n in distinct)), jnp.asarray(
        np.searchsorted(distinct, lengths), jnp.int32
    )


def checked(program: Program, adapter: Any, batches: Batch, hyper: Hyper) -> Hyper:
    """Check shapes and turn the settings into arrays `[]` or `[N]`."""
    shapes = {name: jnp.shape(x) for name, x in batches.items()}
    axes = 2 if program.batched else 1
    heads = {shape[:axes] for shape in shapes.values()}
    if len(heads) != 1 or len(next(iter(heads))) != axes:
        wanted = "[N, S, ...]" if program.batched else "[S, ...]"
        raise ValueError(f"batches need equal leading axes {wanted}, got {shapes}")
    if "tokens" in shapes and (len(shapes["tokens"]) != axes + 2 or shapes["tokens"] != shapes.get("mask")):
        wanted = "[N, S, B, T]" if program.batched else "[S, B, T]"
        raise ValueError(f'batches["tokens"] and ["mask"] must both be {wanted}, got {shapes}')
    check_parts(program, batches)
    check_tokens(program, batches)
    head = next(iter(heads))
    lead = {jnp.shape(x)[:1] for x in jax.tree.leaves(adapter)}
    if program.batched and lead != {head[:1]}:
        raise ValueError(f"every adapter leaf needs the leading axis N={head[0]} of the batches, got {sorted(lead)}")
    if not isinstance(hyper.steps, Tracer) and np.max(hyper.steps) > head[-1]:
        raise ValueError(f"hyper.steps={np.max(hyper.steps)} but batches hold only S={head[-1]} steps")
    return as_arrays(hyper, head[:-1])


def check_parts(program: Program, batches: Batch) -> None:
    """Raise ValueError unless `program.accumulate` divides the rows of every array."""
    axis = 2 if program.batched else 1
    rows = {name: (*jnp.shape(x), 1)[axis] for name, x in batches.items()}
    if program.accumulate < 1 or any(n % program.accumulate for n in rows.values()):
        raise ValueError(f"accumulate={program.accumulate} does not divide the rows of a step, {rows}")


def check_tokens(program: Program, batches: Batch) -> None:
    """Raise ValueError for a token outside the vocabulary, of which the loss would be NaN; not looked at if traced."""
    tokens, size = batches.get("tokens"), program.config.vocab_size
    if tokens is None or isinstance(tokens, Tracer) or not getattr(tokens, "is_fully_addressable", True):
        return
    least, most = (int(f(np.asarray(tokens), initial=0)) for f in (np.min, np.max))
    if least < 0 or most >= size:
        raise ValueError(f'batches["tokens"] holds {least if least < 0 else most}; the vocabulary is 0..{size - 1}')


def as_arrays(hyper: Hyper, shape: tuple[int, ...]) -> Hyper:
    """Every setting as an int32 or float32 array of `shape`; ValueError for one of another shape than that or `[]`."""
    return Hyper(*(_setting(name, x, shape) for name, x in hyper._asdict().items()))


def _setting(name: str, value: Any, shape: tuple[int, ...]) -> jax.Array:
    integer = name in ("steps", "warmup", "seed")
    value = jnp.asarray(value).astype(jnp.int32 if integer else jnp.float32)
    if value.shape not in ((), shape):
        raise ValueError(f"hyper.{name} has shape {value.shape}, expected {shape or '()'} or a number")
    return jnp.broadcast_to(value, shape)
