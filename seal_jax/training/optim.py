"""AdamW with linear or cosine decay, as HF Trainer runs it, with every setting an array.

Settings are data, so each of N fine-tunes under one `vmap` has its own. The transform is made inside the traced
function from the traced settings; its state holds arrays only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

Scalar: TypeAlias = jax.Array | float | int

B1, B2, EPS = 0.9, 0.999, 1e-8


class Hyper(NamedTuple):
    """Settings of one fine-tune. Every field is a number or an array `[]`, with a leading axis `[N]` for a batch.

    learning_rate: the peak; steps: optimizer steps taken (batches beyond it are not used); warmup: steps of linear
    warm-up from 0; weight_decay: decoupled; clip: largest global gradient norm (0 or infinite: no clipping);
    seed: of the keys that the loss receives.
    """

    learning_rate: Scalar
    steps: Scalar
    warmup: Scalar = 0
    weight_decay: Scalar = 0.0
    clip: Scalar = 1.0
    seed: Scalar = 0


class AdamWState(NamedTuple):
    """`count` int32 `[]`, updates so far; `mean` and `square`: float32 trees like the parameters."""

    count: jax.Array
    mean: Any
    square: Any


def constant_schedule(hyper: Hyper, step: jax.Array) -> jax.Array:
    """The learning rate at every step."""
    return jnp.broadcast_to(jnp.asarray(hyper.learning_rate).astype(jnp.float32), jnp.shape(step))


def linear_schedule(hyper: Hyper, step: jax.Array) -> jax.Array:
    """The learning rate of step `t` (0-based, int32): `lr * t / warmup`, then `lr * (steps - t) / (steps - warmup)`."""
    step, steps, warmup = (jnp.asarray(x).astype(jnp.float32) for x in (step, hyper.steps, hyper.warmup))
    rising = step / jnp.maximum(warmup, 1.0)
    falling = jnp.maximum(steps - step, 0.0) / jnp.maximum(steps - warmup, 1.0)
    return hyper.learning_rate * jnp.where(step < warmup, rising, falling)


def cosine_schedule(hyper: Hyper, step: jax.Array) -> jax.Array:
    """`linear_schedule` with half a cosine from 1 to 0 in place of the line after the warm-up."""
    step, steps, warmup = (jnp.asarray(x).astype(jnp.float32) for x in (step, hyper.steps, hyper.warmup))
    rising = step / jnp.maximum(warmup, 1.0)
    share = jnp.clip((step - warmup) / jnp.maximum(steps - warmup, 1.0), 0.0, 1.0)
    return hyper.learning_rate * jnp.where(step < warmup, rising, 0.5 * (1.0 + jnp.cos(jnp.pi * share)))


def clip_factor(norm: jax.Array, clip: Scalar) -> jax.Array:
    """What multiplies gradients of global norm `norm` so that it is at most `clip`; 1 where `clip` is 0 or infinite."""
    limit = jnp.where(jnp.asarray(clip) > 0, clip, jnp.inf)
    return jnp.minimum(limit / (norm + 1e-6), 1.0)  # torch's small constant, for equal numbers


def adamw_cosine(hyper: Hyper) -> optax.GradientTransformation:
    """`adamw` with `cosine_schedule`."""
    return adamw(hyper, cosine_schedule)


def adamw(
    hyper: Hyper, schedule: Callable[[Hyper, jax.Array], jax.Array] = linear_schedule
) -> optax.GradientTransformation:
    """Global-norm clipping, Adam moments, decoupled weight decay and the schedule, in one transform."""

    def init(params: optax.Params) -> AdamWState:
        zeros = lambda: jax.tree.map(lambda p: jnp.zeros_like(p, jnp.float32), params)  # noqa: E731
        return AdamWState(jnp.zeros((), jnp.int32), zeros(), zeros())

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, AdamWState]:
        factor = clip_factor(optax.tree.norm(updates), hyper.clip)
        grads = jax.tree.map(lambda g: g.astype(jnp.float32) * factor, updates)
        mean = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, state.mean, grads)
        square = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, state.square, grads)
        count = state.count + 1
        rate = schedule(hyper, state.count)
        # 1 - beta**t by expm1: written out in float32 it is off by 1e-5 at the first steps.
        bias1, bias2 = (-jnp.expm1(count.astype(jnp.float32) * math.log(b)) for b in (B1, B2))

        def delta(m: jax.Array, v: jax.Array, p: jax.Array) -> jax.Array:
            adam = (m / bias1) / (jnp.sqrt(v / bias2) + EPS)
            return (-rate * (adam + hyper.weight_decay * p.astype(jnp.float32))).astype(p.dtype)

        return jax.tree.map(delta, mean, square, params), AdamWState(count, mean, square)

    return optax.GradientTransformation(init, update)
