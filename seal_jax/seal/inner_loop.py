"""The inner loop: many self-edits tried at once.

A trial is one fine-tune and the questions asked afterwards. Trials of similar shape form a group of fixed size; a group
is three programs, each with the trials on one leading axis: `finetune_batch`, the greedy answers, and the
log-likelihood of the gold answers. The base parameters are shared by all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seal_jax import adapters, models, training
from seal_jax.data import packing
from seal_jax.data.squad import Passage
from seal_jax.runtime.clock import timed
from seal_jax.runtime.distributed import host
from seal_jax.runtime.mesh import mesh_of, row_groups, shard_leading
from seal_jax.runtime.placement import shard_adapters
from seal_jax.seal.answers import Outcome, ask_adapted
from seal_jax.seal.settings import Answering, Inner

logger = logging.getLogger(__name__)

# Few shapes, since each is compiled: lines of an epoch (and the passage after them), and tokens of a text.
_STEPS = (1, *(1 + b for b in packing.STEP_BUCKETS))
_LENGTHS = tuple(b for b in packing.DEFAULT_BUCKETS if b < 64 or b.bit_count() == 1)


class Trial(NamedTuple):
    """One fine-tune: the texts it trains on, the passage whose questions follow, and its seed.

    The last text comes last in every epoch (it is the passage, and long), those before it in a fresh order. `item`
    names the draw: that order and the initial adapter depend on (seed, item) alone.
    """

    id: str
    texts: Sequence[str]
    passage: Passage
    seed: int
    item: int


class Store(Protocol):
    """Where outcomes are kept as they come; `runtime.run.Items` is one."""

    def __contains__(self, id: object) -> bool: ...
    def __getitem__(self, id: object) -> Any: ...
    def add(self, id: object, value: Any) -> Any: ...


class Memory:
    """A `Store` that forgets when the process ends."""

    def __init__(self) -> None:
        self._values: dict[object, Any] = {}

    def __contains__(self, id: object) -> bool:
        return id in self._values

    def __getitem__(self, id: object) -> Any:
        return self._values[id]

    def add(self, id: object, value: Any) -> Any:
        """Keep one value."""
        self._values[id] = value
        return value


def run_trials(
    model: models.Model,
    trials: Sequence[Trial],
    inner: Inner,
    answering: Answering,
    store: Store | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Run every trial and return its outcome, in order; what `store` already holds is not run again.

    To the `Outcome` are added "steps", the optimizer steps taken, and "loss", that of the last. Where a fine-tune
    diverged, loss and loglik are NaN (None once through a file) and the answers are wrong. Groups are formed from all
    trials, so that a resumed run computes exactly what an uninterrupted one would have.
    on_progress: called with the number of trials finished after each group.
    Where the model's parameters live on a mesh, the trials of a group are spread over its `data` and `fsdp`.
    Raises ValueError naming the passage if a question and its answer do not fit the model's context.
    """
    store = Memory() if store is None else store
    sequences = _encode([t.texts for t in trials], model, inner)
    mesh = mesh_of(model.params)
    fast = model._replace(params=models.unroll(model.params)) if jax.default_backend() == "cpu" else model
    for group in _groups(sequences, inner, row_groups(mesh)):
        missing = [i for i in group.items if trials[i].id not in store]
        if missing:
            outcomes = _run_group(fast, [trials[i] for i in group.items], sequences, group, inner, answering, mesh)
            for i, outcome in zip(group.items, outcomes):
                if i in missing:
                    store.add(trials[i].id, outcome)
        if on_progress:
            on_progress(len(group.items))
    return [store[t.id] for t in trials]


def _encode(texts: Sequence[Sequence[str]], model: models.Model, inner: Inner) -> list[list[list[int]]]:
    length = min(inner.max_length, model.config.max_position)
    found, cut = [], 0
    for of_trial in texts:
        encoded = packing.encode(of_trial, model.tokenizer, eos=inner.pad_loss == "masked")
        sequences, over = packing.truncate(encoded, length)
        found.append(sequences)
        cut += over
    if cut:
        logger.warning("%d of %d texts are over %d tokens and were cut", cut, sum(map(len, texts)), length)
    return found


class _Group(NamedTuple):
    """Trials of one shape: the N of its program, line steps of an epoch, tokens of a line and of the longest text."""

    size: int
    line_steps: int
    line_length: int
    length: int
    items: tuple[int, ...]


def _groups(sequences: Sequence[Sequence[Sequence[int]]], inner: Inner, devices: int) -> Iterator[_Group]:
    """Groups of at most `at_once` trials of one shape, in a fixed order; their size is a multiple of `devices`."""
    reference = inner.pad_loss == "reference"
    shapes = [
        (
            1 + packing.steps_needed(len(s) - 1, 1, inner.batch_size),
            inner.max_length if reference else max(len(x) for x in s),
        )
        for s in sequences
    ]
    # The released objective depends on how far a text is padded, so there the length is not rounded up.
    lengths = (inner.max_length,) if reference else _LENGTHS
    for group in packing.group_by_shape(shapes, steps=_STEPS, lengths=lengths):
        longest = max((len(x) for i in group.items for x in sequences[i][:-1]), default=1)
        line_length = group.length if reference else min(packing.bucket(longest, _LENGTHS), group.length)
        # A last group that is not full runs the program of the full ones; a shape of few trials gets one of its size.
        size = min(packing.bucket(len(group.items), packing.STEP_BUCKETS), inner.at_once)
        size = -(-size // devices) * devices
        for start in range(0, len(group.items), size):
            yield _Group(size, group.steps - 1, line_length, group.length, group.items[start : start + size])


def _run_group(
    model: models.Model,
    trials: Sequence[Trial],
    sequences: Sequence[Any],
    group: _Group,
    inner: Inner,
    answering: Answering,
    mesh: Mesh | None,
) -> list[Outcome]:
    batches, steps = _stacked_batches(model, trials, [sequences[i] for i in group.items], group, inner)
    spare = group.size - len(trials)  # filled up with fine-tunes of no steps
    batches = {k: jnp.asarray(np.pad(v, [(0, spare)] + [(0, 0)] * (v.ndim - 1))) for k, v in batches.items()}
    adapters_ = _fresh_adapters(model, [*trials, *[trials[0]] * spare], inner)
    if mesh:
        batches, adapters_ = shard_leading(batches, mesh), shard_adapters(adapters_, mesh, model.config)
    hyper = training.Hyper(
        learning_rate=inner.learning_rate,
        steps=jnp.asarray(np.pad(steps, (0, spare))),
        weight_decay=inner.weight_decay,
        clip=inner.clip,
        seed=jnp.array([t.seed for t in trials] + [0] * spare),
    )
    loss = training.lm_loss(inner.pad_loss, inner.remat)
    lengths = packing.edit_lengths(inner.epochs, group.line_steps, group.line_length, group.length)
    trained, metrics = training.finetune_batch(
        model.params, model.config, adapters_, batches, hyper, loss_fn=loss, lengths=lengths, donate=True
    )
    found = ask_adapted(model, trained, [t.passage for t in trials], answering)
    # Every epoch ends with the passage, so the last step is never one of padding.
    losses = host(metrics["loss"])[:, -1]
    return [{**outcome, "steps": int(n), "loss": float(loss)} for outcome, n, loss in zip(found, steps, losses)]


def _stacked_batches(
    model: models.Model, trials: Sequence[Trial], sequences: Sequence[Any], group: _Group, inner: Inner
) -> tuple[packing.Batch, np.ndarray]:
    """The batches of all trials `[N, S, B, T]`, and how many steps of each are real `[N]`."""
    batches = [
        packing.edit_batches(
            texts[:-1],
            texts[-1],
            epochs=inner.epochs,
            batch_size=inner.batch_size,
            line_steps=group.line_steps,
            length=group.length,
            pad_id=_pad_id(model),
            seed=trial.seed,
            item=trial.item,
        )
        for trial, texts in zip(trials, sequences)
    ]
    stacked = {name: np.stack([b[name] for b in batches]) for name in batches[0]}
    return stacked, stacked["mask"].any((2, 3)).sum(1)


def _pad_id(model: models.Model) -> int:
    # The released code pads with EOS, which matters where pads are trained on.
    return model.tokenizer.eos_token_id if model.tokenizer.eos_token_id is not None else 0


def _fresh_adapters(model: models.Model, trials: Sequence[Trial], inner: Inner) -> adapters.Adapter:
    """One adapter per trial, leaves with a leading axis N; equal (seed, item) give equal adapters."""
    seeds = jnp.array([t.seed for t in trials], jnp.uint32)
    items = jnp.array([t.item for t in trials], jnp.uint32)
    stacked = jax.eval_shape(models.stack, model.params)
    return timed("training", _init_adapters, seeds, items, _Shapes(stacked), inner.rank, inner.alpha, inner.targets)


class _Shapes:
    """Shapes of a parameter tree as a hashable static argument."""

    def __init__(self, tree: Any) -> None:
        leaves, self.structure = jax.tree.flatten(tree)
        self.leaves = tuple((x.shape, x.dtype) for x in leaves)

    def __hash__(self) -> int:
        return hash((self.structure, self.leaves))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shapes) and (self.structure, self.leaves) == (other.structure, other.leaves)

    @property
    def tree(self) -> Any:
        return self.structure.unflatten([jax.ShapeDtypeStruct(*x) for x in self.leaves])


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _init_adapters(seeds: jax.Array, items: jax.Array, shapes: _Shapes, rank: int, alpha: float, targets: Any) -> Any:
    def one(seed: jax.Array, item: jax.Array) -> adapters.Adapter:
        key = jax.random.fold_in(jax.random.key(seed), item)
        return adapters.lora.init(key, shapes.tree, rank, alpha, targets)

    return jax.vmap(one)(seeds, items)
