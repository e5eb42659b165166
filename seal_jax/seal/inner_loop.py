"""The inner loop: many self-edits tried at once.

A trial is one fine-tune and the questions asked afterwards. Trials of similar shape form a group of fixed size; a group
is three programs, each with the trials on one leading axis: `finetune_batch`, the greedy answers, and the
log-likelihood of the gold answers. The base parameters are shared by all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax

from seal_jax import models, training
from seal_jax.data.squad import Passage
from seal_jax.evaluation import Grader
from seal_jax.runtime.distributed import host
from seal_jax.runtime.mesh import mesh_of, row_groups, shard_leading
from seal_jax.runtime.placement import shard_adapters
from seal_jax.seal import fine_tunes
from seal_jax.seal.answers import Outcome, ask_adapted, grade_missing
from seal_jax.seal.graders import make_grader
from seal_jax.seal.settings import Answering, Inner


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
    Trials that could not be graded are graded once more at the end.
    Where the model's parameters live on a mesh, the trials of a group are spread over its `data` and `fsdp`.
    Raises ValueError naming the passage if a question and its answer do not fit the model's context.
    """
    store = Memory() if store is None else store
    sequences = fine_tunes.encode([t.texts for t in trials], model, inner)
    fast = model._replace(params=models.unroll(model.params)) if jax.default_backend() == "cpu" else model
    grader = make_grader(fast, answering)
    for group in fine_tunes.grouped(sequences, inner, row_groups(mesh_of(model.params))):
        missing = [i for i in group.items if trials[i].id not in store]
        if missing:
            outcomes = _run_group(fast, [trials[i] for i in group.items], sequences, group, inner, answering, grader)
            for i, outcome in zip(group.items, outcomes):
                if i in missing:
                    store.add(trials[i].id, outcome)
        if on_progress:
            on_progress(len(group.items))
    return _graded_again(store, trials, grader)


def _graded_again(store: Store, trials: Sequence[Trial], grader: Grader) -> list[Outcome]:
    """All outcomes, after what could not be graded, now or before a kill, was sent to the grader once more."""
    before = [store[t.id] for t in trials]
    after = grade_missing(before, [t.passage for t in trials], grader)
    return [old if new is old else store.add(t.id, new) for t, old, new in zip(trials, before, after)]


def _run_group(
    model: models.Model,
    trials: Sequence[Trial],
    sequences: Sequence[Any],
    group: fine_tunes.Group,
    inner: Inner,
    answering: Answering,
    grader: Grader,
) -> list[Outcome]:
    mesh = mesh_of(model.params)
    draws = [fine_tunes.Draw(t.seed, t.item) for t in trials]
    batches, steps = fine_tunes.stacked(model, draws, [sequences[i] for i in group.items], group, inner)
    spare = group.size - len(trials)
    adapters_ = fine_tunes.fresh(model, [*draws, *[draws[0]] * spare], inner)
    if mesh:
        batches, adapters_ = shard_leading(batches, mesh), shard_adapters(adapters_, mesh, model.config)
    hyper = fine_tunes.hyper(inner, steps, [t.seed for t in trials])
    loss = training.lm_loss(inner.pad_loss, inner.remat)
    lengths = fine_tunes.lengths_of(group, inner)
    trained, metrics = training.finetune_batch(
        model.params, model.config, adapters_, batches, hyper, loss_fn=loss, lengths=lengths, donate=True
    )
    found = ask_adapted(model, trained, [t.passage for t in trials], answering, grader=grader)
    # Every epoch ends with the passage, so the last step is never one of padding.
    losses = host(metrics["loss"])[:, -1]
    return [{**outcome, "steps": int(n), "loss": float(loss)} for outcome, n, loss in zip(found, steps, losses)]
