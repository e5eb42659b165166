"""One fine-tune as one pure function, and N of them as one program.

`finetune` scans an optimizer over batches; `finetune_batch` is its `vmap`, compiled once per shape and static choice.
The base model is shared by all N and never copied; gradients and optimizer state exist for the adapters alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from seal_jax import adapters, models
from seal_jax.training.loss import Batch, LossFn, lm_loss
from seal_jax.training.optim import Hyper, adamw
from seal_jax.training.trainable import AttachFn, join, trainable

Optimizer: TypeAlias = optax.GradientTransformation | Callable[[Hyper], optax.GradientTransformation]
Metrics: TypeAlias = dict[str, jax.Array]


class _Program(NamedTuple):
    """The static choices of a compiled fine-tune."""

    config: Any
    tx: Optimizer
    loss_fn: Any
    attach_fn: AttachFn
    batched: bool
    lengths: tuple[int, ...] = ()


def finetune(
    params: models.Params,
    config: models.Config,
    adapter: Any,
    batches: Batch,
    hyper: Hyper,
    tx: Optimizer | None = None,
    loss_fn: LossFn | None = None,
    *,
    factors: Any = None,
    attach_fn: AttachFn = adapters.attach,
    lengths: Any = None,
    unrolled: bool | None = None,
) -> tuple[Any, Metrics]:
    """Train one adapter on S batches, one optimizer step each; returns it with what was measured.

    batches: `{"tokens" int32 [S, B, T], "mask" bool [S, B, T]}`, optionally `"loss_mask"` bool `[S, B, T]`; a custom
    loss may read any dict of arrays `[S, ...]`. A step whose mask is all padding is no step, and once `hyper.steps`
    have been taken the rest change nothing, bit for bit.
    tx: replaces AdamW with clipping and linear decay, either an optax transform (of `hyper` only `steps` and `seed`
    are then used) or a function that makes one from `hyper`. It sees the adapter without LoRA scales, and receives
    the extra arguments `value` (the loss) and `key`. loss_fn: `(params, config, batch, key) -> float32 []`, replaces
    `lm_loss()`; `key` is `fold_in(key(seed), step)`. Both are static: make them once, not in a loop.
    factors: of an SVF adapter. attach_fn: `(params, adapter, factors) -> params`, how the two are joined.
    lengths: int `[S]`, concrete: how many leading columns of each step's `[B, T]` arrays hold data. A step then costs
    its own length and not T; give few distinct values, since each one is compiled.
    unrolled: loop over the layers in Python (default on CPU) instead of scanning them; results are equal. Stacked
    params are then split on every call: pass `models.unroll(params)` to do it once.

    Metrics, float32 `[S]`, NaN for steps not taken: `loss` before each update, `grad_norm` before clipping.
    Raises ValueError for shapes that do not fit or more steps than batches.
    """
    program = _Program(config, tx or adamw, loss_fn or lm_loss(), attach_fn, batched=False)
    return _run(program, params, adapter, batches, hyper, factors, lengths, unrolled)


def finetune_batch(
    params: models.Params,
    config: models.Config,
    adapters_: Any,
    batches: Batch,
    hyper: Hyper,
    tx: Optimizer | None = None,
    loss_fn: LossFn | None = None,
    *,
    factors: Any = None,
    attach_fn: AttachFn = adapters.attach,
    lengths: Any = None,
    unrolled: bool | None = None,
) -> tuple[Any, Metrics]:
    """`finetune` of N adapters at once: every leaf of `adapters_` and `batches` and every metric gains a leading N.

    Each field of `hyper` is `[N]`, or a number that all N share. Params and factors are shared. To run on a mesh, put
    adapters and batches there with `runtime.mesh.shard_leading`: edits do not depend on one another, so the compiled
    program has no communication.
    """
    program = _Program(config, tx or adamw, loss_fn or lm_loss(), attach_fn, batched=True)
    return _run(program, params, adapters_, batches, hyper, factors, lengths, unrolled)


def _run(
    program: _Program,
    params: Any,
    adapter: Any,
    batches: Batch,
    hyper: Hyper,
    factors: Any,
    lengths: Any,
    unrolled: bool | None,
) -> tuple[Any, Metrics]:
    hyper = _checked(program, adapter, batches, hyper)
    program, which = _with_lengths(program, batches, lengths)
    if unrolled is None:
        unrolled = jax.default_backend() == "cpu"
    params = models.unroll(params) if unrolled else models.stack(params)
    return _compiled(params, adapter, batches, hyper, factors, which, program=program)


@partial(jax.jit, static_argnames="program")
def _compiled(
    params: Any, adapter: Any, batches: Batch, hyper: Hyper, factors: Any, which: jax.Array, *, program: _Program
) -> tuple[Any, Metrics]:
    def train(adapter: Any, batches: Batch, hyper: Hyper) -> tuple[Any, Metrics]:
        # `which` is not batched, so that under vmap the choice of a step's length stays a branch.
        state, metrics = _advance(program, params, factors, which, _begin(program, adapter, hyper), batches, hyper)
        return state.adapter, metrics

    return (jax.vmap(train) if program.batched else train)(adapter, batches, hyper)


class State(NamedTuple):
    """A fine-tune between two steps, a pytree of arrays to be kept by `runtime.checkpoint`.

    adapter; optimizer: its state; taken, position: int32 `[]`, optimizer steps taken and batches seen.
    """

    adapter: Any
    optimizer: Any
    taken: jax.Array
    position: jax.Array


def begin(adapter: Any, hyper: Hyper, tx: Optimizer | None = None) -> State:
    """The state of a fine-tune before its first step."""
    return _begin(_Program(None, tx or adamw, None, adapters.attach, batched=False), adapter, hyper)


def advance(
    params: models.Params,
    config: models.Config,
    state: State,
    batches: Batch,
    hyper: Hyper,
    tx: Optimizer | None = None,
    loss_fn: LossFn | None = None,
) -> tuple[State, Metrics]:
    """The next S batches of one fine-tune: `finetune` in segments, to be stopped and resumed between them.

    Any division into segments gives the numbers of `finetune` on all batches at once; `hyper.steps` counts the steps of
    the whole. Equal S share one compiled program. Arguments and metrics as in `finetune`.
    """
    program = _Program(config, tx or adamw, loss_fn or lm_loss(), adapters.attach, batched=False)
    hyper = Hyper(*(_setting(name, x, ()) for name, x in hyper._asdict().items()))
    params = models.unroll(params) if jax.default_backend() == "cpu" else models.stack(params)
    return _compiled_segment(params, state, batches, hyper, program=program)


@partial(jax.jit, static_argnames="program")
def _compiled_segment(
    params: Any, state: State, batches: Batch, hyper: Hyper, *, program: _Program
) -> tuple[State, Metrics]:
    which = jnp.zeros(jax.tree.leaves(batches)[0].shape[:1], jnp.int32)
    return _advance(program, params, None, which, state, batches, hyper)


def _transform(program: _Program, hyper: Hyper) -> optax.GradientTransformationExtraArgs:
    made = program.tx if isinstance(program.tx, optax.GradientTransformation) else program.tx(hyper)
    return optax.with_extra_args_support(made)


def _begin(program: _Program, adapter: Any, hyper: Hyper) -> State:
    optimizer = _transform(program, hyper).init(trainable(adapter))
    return State(adapter, optimizer, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def _advance(
    program: _Program, params: Any, factors: Any, which: jax.Array, state: State, batches: Batch, hyper: Hyper
) -> tuple[State, Metrics]:
    tx = _transform(program, hyper)
    seed = jax.random.key(hyper.seed)
    adapter = state.adapter

    def loss(trained: Any, batch: Batch, key: jax.Array) -> jax.Array:
        attached = program.attach_fn(params, join(trained, adapter), factors)
        return program.loss_fn(attached, program.config, batch, key)

    def differentiated(length: int, trained: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        return jax.value_and_grad(loss)(trained, {name: x[:, :length] for name, x in batch.items()}, key)

    branches = [partial(differentiated, length) for length in program.lengths] or [jax.value_and_grad(loss)]

    def step(carry: tuple[Any, Any, jax.Array], item: tuple[Any, ...]) -> tuple[tuple[Any, Any, jax.Array], Metrics]:
        index, branch, batch = item
        trained, optimizer, taken = carry
        key = jax.random.fold_in(seed, index)
        value, grads = jax.lax.switch(branch, branches, trained, batch, key)
        metrics = {"loss": value, "grad_norm": optax.tree.norm(grads)}
        updates, optimizer = tx.update(grads, optimizer, trained, value=value, key=key)
        active = taken < hyper.steps
        if "mask" in batch:
            active &= batch["mask"].any()
        new = (optax.apply_updates(trained, updates), optimizer, taken + 1)
        carry = jax.tree.map(lambda new, old: jnp.where(active, new, old), new, carry)
        return carry, jax.tree.map(lambda m: jnp.where(active, m, jnp.nan), metrics)

    items = (state.position + jnp.arange(len(which)), which, batches)
    carry = (trainable(adapter), state.optimizer, state.taken)
    (trained, optimizer, taken), metrics = jax.lax.scan(step, carry, items)
    return State(join(trained, adapter), optimizer, taken, state.position + len(which)), metrics


def _with_lengths(program: _Program, batches: Batch, lengths: Any) -> tuple[_Program, jax.Array]:
    """The distinct step lengths as a static choice, and for each step which of them it has: int32 `[S]`."""
    steps = jnp.shape(next(iter(batches.values())))[1 if program.batched else 0]
    if lengths is None:
        return program, jnp.zeros((steps,), jnp.int32)
    lengths = np.asarray(lengths)
    most = batches["tokens"].shape[-1]
    if lengths.shape != (steps,) or lengths.min() < 1 or lengths.max() > most:
        raise ValueError(f"lengths must be [S]={steps} numbers from 1 to T={most}, got {lengths.shape} {lengths}")
    distinct, which = np.unique(lengths, return_inverse=True)
    return program._replace(lengths=tuple(int(n) for n in distinct)), jnp.asarray(which, jnp.int32)


def _checked(program: _Program, adapter: Any, batches: Batch, hyper: Hyper) -> Hyper:
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
    head = next(iter(heads))
    lead = {jnp.shape(x)[:1] for x in jax.tree.leaves(adapter)}
    if program.batched and lead != {head[:1]}:
        raise ValueError(f"every adapter leaf needs the leading axis N={head[0]} of the batches, got {sorted(lead)}")
    if not isinstance(hyper.steps, Tracer) and np.max(hyper.steps) > head[-1]:
        raise ValueError(f"hyper.steps={np.max(hyper.steps)} but batches hold only S={head[-1]} steps")
    return Hyper(*(_setting(name, x, head[:-1]) for name, x in hyper._asdict().items()))


def _setting(name: str, value: Any, shape: tuple[int, ...]) -> jax.Array:
    integer = name in ("steps", "warmup", "seed")
    value = jnp.asarray(value).astype(jnp.int32 if integer else jnp.float32)
    if value.shape not in ((), shape):
        raise ValueError(f"hyper.{name} has shape {value.shape}, expected {shape or '()'} or a number")
    return jnp.broadcast_to(value, shape)
