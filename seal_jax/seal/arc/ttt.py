"""Test-time training of many edits of many tasks in one program.

Each edit is one LoRA fine-tune with its own learning rate, number of steps, sequences and targets; a group of them has
one leading axis. Groups are trained in segments of `SEGMENT` steps, each as wide as its own longest sequence, so that a
program's shape has no number of steps in it; edits of similar length and number of steps go together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seal_jax import adapters, models, training
from seal_jax.data import packing
from seal_jax.data.arc import Task
from seal_jax.runtime.distributed import host
from seal_jax.runtime.mesh import mesh_of, row_groups, shard_leading
from seal_jax.runtime.placement import shard_adapters
from seal_jax.seal.arc.schema import EditConfig
from seal_jax.seal.arc.settings import TestTime
from seal_jax.seal.arc.texts import Sequences, task_number
from seal_jax.seal.fine_tunes import pad_id

SEGMENT = 8
_LENGTHS = tuple(quarter * 2**octave for octave in range(4, 16) for quarter in (4, 5, 6, 7))
"""64, 80, 96, 112, 128, 160, ...: a program each, and a tenth of padding on average."""


class Job(NamedTuple):
    """One edit to be tried on one task, and what the task is trained on under it."""

    task: Task
    edit: EditConfig
    data: Sequences


class Group(NamedTuple):
    """Jobs of similar shape: the N of their program, the columns T, and which jobs they are."""

    size: int
    length: int
    items: tuple[int, ...]


class Trained(NamedTuple):
    """Adapters with a leading axis N; of each job the losses before its steps, and whether its weights are finite."""

    adapters: Any
    losses: list[np.ndarray]
    finite: list[bool]


def steps_of(job: Job, batch_size: int) -> int:
    """Optimizer steps of a job: epochs times the batches of an epoch, the last of which may be part empty."""
    return job.edit.epochs * -(-len(job.data.tokens) // batch_size)


def groups(jobs: Sequence[Job], ttt: TestTime, devices: int = 1) -> list[Group]:
    """The jobs in groups of at most `at_once`, of one length each, those with many steps first.

    A size is a multiple of `devices`. The grouping has no influence on what a job's fine-tune gives.
    """
    shapes = [(1, max(job.data.longest, 1)) for job in jobs]
    found = []
    for one in packing.group_by_shape(shapes, lengths=_LENGTHS):
        ordered = sorted(one.items, key=lambda i: (-steps_of(jobs[i], ttt.batch_size), i))
        found += [Group(n, one.length, items) for n, items in packing.portions(ordered, ttt.at_once, devices)]
    return found


def train(model: models.Model, jobs: Sequence[Job], group: Group, ttt: TestTime, seed: int = 0) -> Trained:
    """Train the group's jobs, which are `jobs` in its order; spare places of the group hold fine-tunes of no steps.

    All begin with one draw of LoRA's A (B is 0), a function of `seed`; the order of sequences in an epoch is one of
    (seed, task, epoch). Where a fine-tune diverged, its losses end in NaN and its weights are not finite; the others
    are untouched. Where the parameters live on a mesh, jobs are spread over its `data` and `fsdp`.
    """
    mesh = mesh_of(model.params)
    spare = group.size - len(jobs)
    steps = [steps_of(job, ttt.batch_size) for job in jobs]
    hyper = training.Hyper(
        learning_rate=jnp.array([job.edit.learning_rate for job in jobs] + [0.0] * spare, jnp.float32),
        steps=jnp.array(steps + [0] * spare),
        warmup=ttt.warmup,
        clip=ttt.clip,
        seed=seed,
    )
    state = training.begin(_fresh(model, group.size, ttt, seed, mesh), hyper, training.adamw_cosine, batched=True)
    losses = []
    for batches in _segments(model, jobs, group, ttt, seed):
        placed = shard_leading(batches, mesh) if mesh else batches
        state, metrics = training.advance(
            model.params,
            model.config,
            state,
            placed,
            hyper,
            training.adamw_cosine,
            _loss(ttt),
            batched=True,
        )
        losses.append(host(metrics["loss"]))
    every = np.concatenate(losses, axis=1) if losses else np.zeros((group.size, 0), np.float32)
    finite = host(_finite(state.adapter)).tolist()
    return Trained(state.adapter, [every[n, :count] for n, count in enumerate(steps)], finite[: len(jobs)])


def _fresh(model: models.Model, size: int, ttt: TestTime, seed: int, mesh: Mesh | None) -> adapters.Adapter:
    shapes = jax.eval_shape(models.stack, model.params)
    one = adapters.lora.init(jax.random.key(seed), shapes, ttt.rank, ttt.alpha, ttt.targets)
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (size, *x.shape)), one)
    return shard_adapters(many, mesh, model.config) if mesh else many


def _segments(
    model: models.Model, jobs: Sequence[Job], group: Group, ttt: TestTime, seed: int
) -> Iterator[packing.Batch]:
    """The batches of a group, `[N, SEGMENT, B, T]` after one another, T the columns in use."""
    most = max(steps_of(job, ttt.batch_size) for job in jobs)
    total = -(-most // SEGMENT) * SEGMENT
    made = [batches(job, ttt, total, group.length, pad_id(model), seed) for job in jobs]
    spare = group.size - len(jobs)
    stacked = {name: np.stack([b[name] for b in made] + [np.zeros_like(made[0][name])] * spare) for name in made[0]}
    # The released objective has targets in the pads, up to the longest sequence of an edit.
    used = stacked["mask"] | stacked["loss_mask"]
    for start in range(0, total, SEGMENT):
        part = slice(start, start + SEGMENT)
        width = packing.bucket(int(np.flatnonzero(used[:, part].any((0, 1, 2)))[-1]) + 1, _LENGTHS)
        yield {name: x[:, part, :, :width] for name, x in stacked.items()}


def batches(job: Job, ttt: TestTime, steps: int, length: int, pad_id: int, seed: int = 0) -> packing.Batch:
    """All steps of one job, `[steps, batch_size, length]`; "loss_mask" is True on the targets.

    Targets are the tokens from the answer on, or all tokens, as the edit says; with the reference's loss also the pads
    up to the job's longest sequence. Each epoch has a random order; with `ttt.order` "long_first" the longest sequences
    come first in it, so that edits side by side have short steps at the same time.
    """
    output = job.edit.strategy == "train_using_output_tokens"
    batch = packing.epoch_batches(
        job.data.tokens if job.edit.epochs else [],
        epochs=max(job.edit.epochs, 1),
        batch_size=ttt.batch_size,
        length=length,
        steps=steps,
        seed=seed,
        item=task_number(job.task),
        pad_id=pad_id,
        loss_start=job.data.starts if output else None,
    )
    if ttt.order == "long_first":
        batch = _long_first(batch, job.edit.epochs * -(-len(job.data.tokens) // ttt.batch_size), job.edit.epochs)
    if ttt.loss == "reference":
        begun = np.logical_or.accumulate(batch["loss_mask"], axis=-1)
        batch["loss_mask"] = begun & (np.arange(length) < job.data.longest)
    return batch


def _long_first(batch: packing.Batch, steps: int, epochs: int) -> packing.Batch:
    """The rows of each epoch, the longest first and otherwise in their order; lengths in one bucket are alike."""
    if not epochs:
        return batch
    _, rows, length = batch["tokens"].shape
    real = batch["mask"][:steps].reshape(epochs, -1, length).sum(-1)
    order = np.argsort(-np.searchsorted(_LENGTHS, real, side="left") * (real > 0), axis=1, kind="stable")
    for value in batch.values():
        by_epoch = value[:steps].reshape(epochs, -1, length)
        value[:steps] = np.take_along_axis(by_epoch, order[..., None], axis=1).reshape(steps, rows, length)
    return batch


class ReferenceLoss(NamedTuple):
    """The mean over "loss_mask", pads included, with positions that go on counting over pads, as torch has it."""

    remat: bool = False

    def __call__(
        self, params: Any, config: models.Config, batch: training.loss.Batch, key: jax.Array | None = None
    ) -> jax.Array:
        """The loss of one batch, float32 `[]`."""
        tokens, chosen = batch["tokens"], batch["loss_mask"]
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[-1], dtype=jnp.int32), tokens.shape)
        log_probs = training.token_log_probs(
            params, config, tokens, batch["mask"], positions=positions, remat=self.remat
        )
        return -jnp.where(chosen, log_probs, 0.0).sum() / jnp.maximum(chosen.sum(dtype=jnp.float32), 1.0)


def _loss(ttt: TestTime) -> training.LossFn:
    return ReferenceLoss(ttt.remat) if ttt.loss == "reference" else training.lm_loss(remat=ttt.remat)


@jax.jit
def _finite(adapters_: Any) -> jax.Array:
    """Whether every number of adapter n is finite: bool `[N]`."""
    each = [jnp.isfinite(x).all(axis=tuple(range(1, x.ndim))) for x in jax.tree.leaves(adapters_)]
    return jnp.stack(each).all(axis=0)


def devices_of(model: models.Model) -> int:
    """How many groups of devices share the jobs of a program."""
    return row_groups(mesh_of(model.params))
