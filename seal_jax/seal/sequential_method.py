"""How a sequence of edits learns: what can be put in to protect what was learned before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from seal_jax import models, training
from seal_jax.adapters import Adapter
from seal_jax.data import packing
from seal_jax.data.squad import Passage
from seal_jax.seal.sequential_weights import KINDS, MERGED, Weights
from seal_jax.seal.settings_sequential import Sequential
from seal_jax.training.program import Optimizer

Replay = Callable[[Sequence["Lesson"], tuple[int, int, int]], Sequence[str]]
Carry = Callable[["Finished", Any], Any]


class Lesson(NamedTuple):
    """A step of one sequence that lies behind: its passage, the edit, and the texts that these become."""

    passage: Passage
    edit: str
    texts: tuple[str, ...]


class Finished(NamedTuple):
    """What a step of N sequences leaves for `Method.carry`.

    trained: the adapter tree; optimizer: its state after the last update; batches `[N, S, B, T]`: what was trained on;
    step: from 0. Everything leads with N.
    """

    model: models.Model
    trained: Adapter
    optimizer: Any
    batches: dict[str, Any]
    step: int


class Method(NamedTuple):
    """How a sequence learns. The default is the reference's.

    weights: the adapter policy, one of `sequential_weights`; loss_fn and tx: as in `training.finetune`, default the
    settings' loss and AdamW.
    replay: `(earlier lessons, counter) -> texts` that a step trains on in addition; `counter` is three integers,
    different for each sequence and step, for draws that depend on nothing else.
    carry: `(finished, begun) -> optimizer state` for the next step, of the structure of `begun`, which is the state it
    would otherwise begin with: importances and anchors go on in it. It is kept in the checkpoints.
    """

    weights: Weights = MERGED
    loss_fn: training.LossFn | None = None
    tx: Optimizer | None = None
    replay: Replay | None = None
    carry: Carry | None = None


def uniform_replay(count: int) -> Replay:
    """A `Method.replay` of `count` texts drawn from all texts of all earlier steps, none twice."""

    def replay(earlier: Sequence[Lesson], counter: tuple[int, int, int]) -> list[str]:
        pool = [text for lesson in earlier for text in lesson.texts]
        return [pool[i] for i in packing.permutation(len(pool), *counter)[:count]] if pool else []

    return replay


def method_of(settings: Sequential) -> Method:
    """The method that the settings name."""
    replay = uniform_replay(settings.replay) if settings.replay else None
    return Method(KINDS[settings.weights], replay=replay)
