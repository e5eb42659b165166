"""One fine-tune as one pure function, and N of them as one program.

`finetune` scans an optimizer over batches; `finetune_batch` is its `vmap`, compiled once per shape and static choice.
The base model is shared by all N and never copied; gradients and optimizer state exist for the adapters alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from seal_jax import adapters, models
from seal_jax.runtime.clock import timed
from seal_jax.runtime.mesh import mesh_of, use
from seal_jax.training.accumulate import accumulated
from seal_jax.training.loss import Batch, LossFn, lm_loss
from seal_jax.training.optim import Hyper, adamw
from seal_jax.training.program import Optimizer, Program, as_arrays, check_parts, check_tokens, checked, with_lengths
from seal_jax.training.trainable import AttachFn, join, trainable

Metrics: TypeAlias = dict[str, jax.Array]


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
    accumulate: int = 1,
    donate: bool = False,
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
    accumulate: parts that the B rows of a step are split into, gradients summed; the same step in the memory of B /
    accumulate rows. Parts count by `loss_fn.weight(part)`, as `lm_loss` has it, and alike without such a method.
    donate: give the memory of `adapter` to the result; the caller's arrays are deleted.

    Metrics, float32 `[S]`, NaN for steps not taken: `loss` before each update, `grad_norm` before clipping.
    Raises ValueError for shapes that do not fit or more steps than batches.
    """
    program = Program(config, tx or adamw, loss_fn or lm_loss(), attach_fn, batched=False, accumulate=accumulate)
    return _run(program, params, adapter, batches, hyper, factors, lengths, unrolled, donate)


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
    accumulate: int = 1,
    donate: bool = False,
) -> tuple[Any, Metrics]:
    """`finetune` of N adapters at once: every leaf of `adapters_` and `batches` and every metric gains a leading N.

    Each field of `hyper` is `[N]`, or a number that all N share. Params and factors are shared. To run on a mesh, put
    adapters and batches there with `runtime.mesh.shard_leading`: edits do not depend on one another, so the compiled
    program has no communication.
    """
    program = Program(config, tx or adamw, loss_fn or lm_loss(), attach_fn, batched=True, accumulate=accumulate)
    return _run(program, params, adapters_, batches, hyper, factors, lengths, unrolled, donate)


def _run(
    program: Program,
    params: Any,
    adapter: Any,
    batches: Batch,
    hyper: Hyper,
    factors: Any,
    lengths: Any,
    unrolled: bool | None,
    donate: bool,
) -> tuple[Any, Metrics]:
    hyper = checked(program, adapter, batches, hyper)
    program, which = with_lengths(program, batches, lengths)
    if unrolled is None:
        unrolled = jax.default_backend() == "cpu"
    mesh = mesh_of(params)
    params = models.unroll(params) if unrolled else models.stack(params)
    compiled = _compiled_donating if donate else _compiled
    with use(mesh):
        return timed("training", compiled, params, adapter, batches, hyper, factors, which, program=program)


def _train(
    params: Any, adapter: Any, batches: Batch, hyper: Hyper, factors: Any, which: jax.Array, *, program: Program
) -> tuple[Any, Metrics]:
    def train(adapter: Any, batches: Batch, hyper: Hyper) -> tuple[Any, Metrics]:
        # `which` is not batched, so that under vmap the choice of a step's length stays a branch.
        state, metrics = _advance(program, params, factors, which, _begin(program, adapter, hyper), batches, hyper)
        return state.adapter, metrics

    return (jax.vmap(train) if program.batched else train)(adapter, batches, hyper)


_compiled = jax.jit(_train, static_argnames="program")
_compiled_donating = jax.jit(_train, static_argnames="program", donate_argnames="adapter")


class State(NamedTuple):
    """A fine-tune between two steps, a pytree of arrays to be kept by `runtime.checkpoint`.

    adapter; optimizer: its state; taken, position: int32 `[]`, optimizer steps taken and batches seen.
    """

    adapter: Any
    optimizer: Any
    taken: jax.Array
    position: jax.Array


def begin(adapter: Any, hyper: Hyper, tx: Optimizer | None = None, *, batched: bool = False) -> State:
    """The state of a fine-tune before its first step. The adapter is copied: `advance` consumes its state.

    batched: N fine-tunes; every leaf of adapter and state leads with N, every field of `hyper` is a number or `[N]`.
    """
    program = Program(None, tx or adamw, None, adapters.attach, batched=batched)
    start = partial(_begin, program)
    if batched:
        hyper = as_arrays(hyper, jnp.shape(jax.tree.leaves(adapter)[0])[:1])
        start = jax.vmap(start)
    state = start(adapter, hyper)
    seen = {id(x) for x in jax.tree.leaves(adapter)}

    def own(x: jax.Array) -> jax.Array:  # an optimizer may begin two of its leaves with one array
        if id(x) in seen:
            return jnp.copy(x)
        seen.add(id(x))
        return x

    return jax.tree.map(own, state)


def advance(
    params: models.Params,
    config: models.Config,
    state: State,
    batches: Batch,
    hyper: Hyper,
    tx: Optimizer | None = None,
    loss_fn: LossFn | None = None,
    *,
    attach_fn: AttachFn = adapters.attach,
    lengths: Any = None,
    among: Any = (),
    accumulate: int = 1,
    batched: bool = False,
) -> tuple[State, Metrics]:
    """The next S batches of one fine-tune: `finetune` in segments, to be stopped and resumed between them.

    Any division into segments gives the numbers of `finetune` on all batches at once; `hyper.steps` counts the steps of
    the whole. Equal S share one compiled program. Arguments and metrics as in `finetune`; with `batched` as in
    `finetune_batch`, for a state that began so. among: the values that `lengths` has in other segments, so that all of
    them share one program. The memory of `state` goes to the new state: the arrays of the old one are deleted.
    """
    program = Program(config, tx or adamw, loss_fn or lm_loss(), attach_fn, batched=batched, accumulate=accumulate)
    check_parts(program, batches)
    check_tokens(program, batches)
    hyper = as_arrays(hyper, jnp.shape(state.taken))
    program, which = with_lengths(program, batches, lengths, among)
    params = models.unroll(params) if jax.default_backend() == "cpu" else models.stack(params)
    with use(mesh_of(params)):
        return timed("training", _compiled_segment, params, state, batches, hyper, which, program=program)


@partial(jax.jit, static_argnames="program", donate_argnames="state")
def _compiled_segment(
    params: Any, state: State, batches: Batch, hyper: Hyper, which: jax.Array, *, program: Program
) -> tuple[State, Metrics]:
    segment = partial(_advance, program, params, None, which)
    return (jax.vmap(segment) if program.batched else segment)(state, batches, hyper)


def _transform(program: Program, hyper: Hyper) -> optax.GradientTransformationExtraArgs:
    made = program.tx if isinstance(program.tx, optax.GradientTransformation) else program.tx(hyper)
    return optax.with_extra_args_support(made)


def _begin(program: Program, adapter: Any, hyper: Hyper) -> State:
    optimizer = _transform(program, hyper).init(trainable(adapter))
    return State(adapter, optimizer, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def _advance(
    program: Program, params: Any, factors: Any, which: jax.Array, state: State, batches: Batch, hyper: Hyper
) -> tuple[State, Metrics]:
    tx = _transform(program, hyper)
    seed = jax.random.key(hyper.seed)
    adapter = state.adapter

    def loss(trained: Any, batch: Batch, key: jax.Array) -> jax.Array:
        attached = program.attach_fn(params, join(trained, adapter), factors)
        return program.loss_fn(attached, program.config, batch, key)

    def differentiated(length: int, trained: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        return value_and_grad(trained, {name: x[:, :length] for name, x in batch.items()}, key)

    value_and_grad = accumulated(jax.value_and_grad(loss), program.accumulate, getattr(program.loss_fn, "weight", None))
    branches = [partial(differentiated, length) for length in program.lengths] or [value_and_grad]

    def step(carry: tuple[Any, Any, jax.Array], item: tuple[Any, ...]) -> tuple[tuple[Any, Any, jax.Array], Metrics]:
        index, branch, batch, real = item
        trained, optimizer, taken = carry
        key = jax.random.fold_in(seed, index)
        value, grads = jax.lax.switch(branch, branches, trained, batch, key)
        metrics = {"loss": value, "grad_norm": optax.tree.norm(grads)}
        updates, optimizer = tx.update(grads, optimizer, trained, value=value, key=key)
        active = real & (taken < hyper.steps)
        new = (optax.apply_updates(trained, updates), optimizer, taken + 1)
        carry = jax.tree.map(lambda new, old: jnp.where(active, new, old), new, carry)
        return carry, jax.tree.map(lambda m: jnp.where(active, m, jnp.nan), metrics)

    # Outside of the loop, since rows that are split over devices make it a question to all of them.
    mask = batches.get("mask", jnp.ones((len(which), 1), bool))
    real = mask.any(axis=tuple(range(1, mask.ndim)))
    items = (state.position + jnp.arange(len(which)), which, batches, real)
    carry = (trainable(adapter), state.optimizer, state.taken)
    (trained, optimizer, taken), metrics = jax.lax.scan(step, carry, items)
    return State(join(trained, adapter), optimizer, taken, state.position + len(which)), metrics
