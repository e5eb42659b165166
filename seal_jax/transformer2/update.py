"""One optimizer step from weighted completions: the program behind REINFORCE and behind next-token training.

The objective is a sum over rows, `weight * log-likelihood - divergence * KL`, so a batch is differentiated in
micro-batches whose gradients add up. Gradients, sums and optimizer state exist for the adapter alone. The reference of
the KL is the same parameters without the adapter, in the same program: there is no second copy of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from seal_jax import adapters, models, training
from seal_jax.generation.bank import Layered, attach_cut, cut
from seal_jax.runtime.clock import timed
from seal_jax.runtime.constraints import current_mesh
from seal_jax.runtime.distributed import host
from seal_jax.runtime.mesh import ROWS, mesh_of, put, row_groups, use
from seal_jax.runtime.placement import param_spec
from seal_jax.training.loss import LOGITS_BYTES
from seal_jax.training.trainable import AttachFn, join
from seal_jax.transformer2 import kl
from seal_jax.transformer2.rows import Part, Row, parts


class Attach(NamedTuple):
    """`adapters.attach` with its options bound, also for factors that `layered` has cut up."""

    compose: str = "scaled"
    form: str = "auto"

    def __call__(self, params: models.Params, adapter: Any, factors: Any = None) -> models.Params:
        """Parameters in which the kernels that `adapter` names are adapted."""
        if isinstance(factors, Layered):
            one = cut(adapter, len(params["layers"]), 0)
            return attach_cut(params, one, factors, self.compose, self.form)
        return adapters.attach(params, adapter, factors, self.compose, self.form)


def layered(factors: Any, config: models.Config) -> Any:
    """SVF factors cut up by layer, once, for programs whose layers are unrolled; what is cut, or None, is returned.

    A program that was given stacked factors would cut them itself, and hold a copy of all of them.
    """
    if factors is None or isinstance(factors, Layered):
        return factors
    return cut(factors, config.num_layers, 0)


class Program(NamedTuple):
    """The static choices of an update.

    attach_fn: `(params, adapter, factors) -> params`. direction, estimate: of the divergence (see `kl`), None for none.
    schedule: of `training.optim`. remat: recompute each layer in the backward pass. chunk: columns whose logits
    `[R, chunk, V]` exist at once, None for as many as `training.loss.LOGITS_BYTES` allow.
    """

    config: models.Config
    attach_fn: AttachFn = Attach()
    direction: str | None = None
    estimate: str = "exact"
    schedule: Callable[[training.Hyper, jax.Array], jax.Array] = training.linear_schedule
    remat: bool = False
    chunk: int | None = None


class TrainState(NamedTuple):
    """What an update changes: the adapter, and the optimizer's state, which is float32 and of the adapter's shape."""

    adapter: Any
    optimizer: Any


def begin(adapter: Any, program: Program) -> TrainState:
    """The state before the first update; the adapter is copied, because updates consume their state."""
    trained = training.trainable(adapter)
    optimizer = training.adamw(training.Hyper(0.0, 1), program.schedule).init(trained)
    return TrainState(*jax.tree.map(jnp.copy, (adapter, optimizer)))


def update(
    params: models.Params,
    state: TrainState,
    rows: Sequence[Row],
    hyper: training.Hyper,
    program: Program,
    *,
    factors: Any = None,
    micro_batch: int = 16,
) -> tuple[TrainState, dict[str, float]]:
    """One step of AdamW with clipping on the rows; the memory of `state` goes to the result.

    params: base parameters, unrolled where factors are `layered`. hyper: numbers; the schedule counts the updates so
    far. micro_batch: rows that are differentiated at once; on a mesh they are split over `data` and `fsdp`.
    Without rows nothing changes.

    Metrics: loss, grad_norm (before clipping), targets, and means per target in nats: log_likelihood, and divergence
    where the program has one.
    """
    if not rows:
        return state, dict.fromkeys(("loss", "grad_norm", "targets"), 0.0)
    mesh = mesh_of(params)
    settings = jax.tree.map(jnp.float32, hyper)
    with use(mesh):
        sums = _zeros(state.adapter, program=program)
        for part in parts(rows, micro_batch, row_groups(mesh)):
            placed = part if mesh is None else put(part, NamedSharding(mesh, PartitionSpec(ROWS)))
            sums = timed("training", add_gradients, params, factors, state.adapter, placed, sums, program=program)
        state, norm = timed("training", _apply, state, sums.gradients, settings, program=program)
    loss, targets, likelihood, divergence = (float(x) for x in host((*sums[1:],)))
    metrics = {"loss": loss, "grad_norm": float(host(norm)), "targets": targets}
    metrics["log_likelihood"] = likelihood / max(targets, 1.0)
    if program.direction:
        metrics["divergence"] = divergence / max(targets, 1.0)
    return state, metrics


class Sums(NamedTuple):
    """Of the micro-batches so far: gradients of the trained leaves, and float32 `[]` of all their targets."""

    gradients: Any
    loss: jax.Array
    targets: jax.Array
    log_likelihood: jax.Array
    divergence: jax.Array


@partial(jax.jit, static_argnames="program")
def _zeros(adapter: Any, *, program: Program) -> Sums:
    nothing = jnp.zeros((), jnp.float32)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), training.trainable(adapter))
    return Sums(_stored(zeros, program.config), nothing, nothing, nothing, nothing)


@partial(jax.jit, static_argnames="program", donate_argnames="sums")
def add_gradients(
    params: models.Params, factors: Any, adapter: Any, part: Part, sums: Sums, *, program: Program
) -> Sums:
    """The sums with those of one micro-batch added."""

    def loss(trained: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        policy = program.attach_fn(params, join(trained, adapter), factors)
        return objective(policy, params, part, program)

    (value, measured), gradients = jax.value_and_grad(loss, has_aux=True)(training.trainable(adapter))
    gradients = jax.tree.map(lambda total, g: total + g.astype(jnp.float32), sums.gradients, gradients)
    totals = (total + x for total, x in zip(sums[1:], (value, *measured)))
    return Sums(_stored(gradients, program.config), *totals)


@partial(jax.jit, static_argnames="program", donate_argnames="state")
def _apply(
    state: TrainState, gradients: Any, hyper: training.Hyper, *, program: Program
) -> tuple[TrainState, jax.Array]:
    trained = training.trainable(state.adapter)
    updates, optimizer = training.adamw(hyper, program.schedule).update(gradients, state.optimizer, trained)
    new = TrainState(join(optax.apply_updates(trained, updates), state.adapter), optimizer)
    return TrainState(*(_stored(x, program.config) for x in new)), optax.tree.norm(gradients)


def objective(
    policy: models.Params, params: models.Params, part: Any, program: Program
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    """The loss of a micro-batch, float32 `[]`, and of all its targets: their number, log-likelihood, divergence.

    policy: `params` with the adapter attached; part: a `Part` of arrays.
    """
    hidden = _before_targets(policy, part, program)
    reference = jax.lax.stop_gradient(_before_targets(params, part, program)) if program.direction else hidden
    log_probs, divergence = _by_columns(policy, params, hidden, reference, part.following, program)
    log_probs, divergence = (jnp.where(part.targets, x, 0.0) for x in (log_probs, divergence))
    loss = (part.divergence * divergence.sum(-1) - part.weight * log_probs.sum(-1)).sum()
    return loss, (part.targets.sum(dtype=jnp.float32), log_probs.sum(), divergence.sum())


def _before_targets(params: models.Params, part: Any, program: Program) -> jax.Array:
    """Hidden states `[R, C, D]` of the columns that predict the completion."""
    hidden = models.hidden_states(params, program.config, part.tokens, part.mask, remat=program.remat)
    return jnp.take_along_axis(hidden, part.columns[..., None], axis=1)


def _by_columns(
    policy: Any, params: Any, hidden: jax.Array, reference: jax.Array, following: jax.Array, program: Program
) -> tuple[jax.Array, jax.Array]:
    """`_terms` of all columns, of which only `chunk` have logits at once, in the backward pass as well."""
    rows, columns = following.shape
    fits = max(LOGITS_BYTES // (4 * rows * program.config.vocab_size), 1)
    chunk = min(program.chunk or fits, columns)
    terms = partial(_terms, program, policy, params)
    if chunk >= columns:
        return terms(hidden, reference, following)

    def split(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, [(0, 0), (0, -columns % chunk)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(rows, -1, chunk, *x.shape[2:]), 1, 0)

    found = jax.lax.map(lambda x: jax.checkpoint(terms)(*x), tuple(map(split, (hidden, reference, following))))
    log_probs, divergence = (jnp.moveaxis(x, 0, 1).reshape(rows, -1)[:, :columns] for x in found)
    return log_probs, divergence


def _terms(
    program: Program, policy: Any, params: Any, hidden: jax.Array, reference: jax.Array, following: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Log-probability of each token `[R, C]` and the divergence of the distributions it was drawn from."""
    new = jax.nn.log_softmax(models.unembed(policy, program.config, hidden))
    chosen = _chosen(new, following)
    if program.direction is None:
        return chosen, jnp.zeros_like(chosen)
    old = jax.lax.stop_gradient(jax.nn.log_softmax(models.unembed(params, program.config, reference)))
    if program.estimate == "sampled":
        return chosen, kl.sampled(chosen, _chosen(old, following), program.direction)
    return chosen, kl.exact(new, old, program.direction)


def _chosen(log_probs: jax.Array, tokens: jax.Array) -> jax.Array:
    return jnp.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]


def _stored(tree: Any, config: models.Config) -> Any:
    """Leaves of an adapter's shape where `placement.param_spec` has them, so that each update finds what it left."""
    mesh = current_mesh()
    if mesh is None:
        return tree

    def place(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(leaf, param_spec(path, leaf, mesh, config))

    return jax.tree_util.tree_map_with_path(place, tree)


def summary(adapter: Any) -> dict[str, float]:
    """An adapter in a few numbers: z_min, z_mean, z_max of singular-value entries, else the norm of what is trained."""
    leaves: list[np.ndarray] = jax.tree.leaves(host(training.trainable(adapter)))
    raws = [host(entry["raw"]) for entry in adapter.values() if isinstance(entry, dict) and "raw" in entry]
    if not raws:
        return {"norm": float(np.sqrt(sum(np.square(x, dtype=np.float64).sum() for x in leaves)))}
    z = 1.0 / (1.0 + np.exp(-np.concatenate([x.reshape(-1) for x in raws])))
    return {"z_min": float(z.min()), "z_mean": float(z.mean()), "z_max": float(z.max())}
