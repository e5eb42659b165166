"""Sequential self-edits (arXiv 2506.10943, section 5): one edit after another, and what remains of the earlier ones.

Many sequences advance in step, each with its own weights on the leading axis of one adapter tree over a shared base. A
step writes an edit of the next passage with the current weights, trains, and asks about all passages so far. Every step
is kept in the run's directory.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from seal_jax import models
from seal_jax.data import packing
from seal_jax.data.squad import Passage
from seal_jax.runtime.logging import progress
from seal_jax.runtime.mesh import mesh_of, row_groups
from seal_jax.runtime.run import Run
from seal_jax.seal import policy
from seal_jax.seal.answers import Outcome, ask
from seal_jax.seal.graders import kept_in, make_grader
from seal_jax.seal.sequential_method import Method
from seal_jax.seal.sequential_steps import Chunk, Members
from seal_jax.seal.settings import Settings


class Found(NamedTuple):
    """matrices: float64 `[sequences, steps + 1, steps]`, see `sequential_metrics`; edits: `[sequence][step]`.

    ungraded: how many verdicts are missing in them, each of a question at a row.
    """

    matrices: np.ndarray
    edits: list[list[str]]
    ungraded: int


def draw(
    passages: Sequence[Passage], sequences: int, steps: int, kind: str = "disjoint", per_run: int = 8, seed: int = 42
) -> list[list[Passage]]:
    """`sequences` sequences of `steps` passages each, no passage twice in one.

    "disjoint": all from one shuffle by `seed`, so that no two share a passage. "reference": run i of `per_run`
    sequences draws each with `random.Random(42 + i)` from all passages, whatever `seed` is.
    Raises ValueError if there are too few passages.
    """
    needed = sequences * steps if kind == "disjoint" else steps
    if len(passages) < needed:
        hint = '; or let sequences share passages with the draw "reference"' if kind == "disjoint" else ""
        raise ValueError(
            f"{len(passages)} passages for {sequences} sequences of {steps}: {needed} are needed; "
            f"use fewer sequences or steps{hint}"
        )
    if kind == "disjoint":
        order = list(passages)
        random.Random(seed).shuffle(order)
        return [order[i * steps : (i + 1) * steps] for i in range(sequences)]
    drawn: list[list[Passage]] = []
    for run in range(-(-sequences // per_run)):
        source = random.Random(42 + run)
        drawn += [source.sample(list(passages), steps) for _ in range(per_run)]
    return drawn[:sequences]


def run_sequences(
    run: Run,
    name: str,
    model: models.Model,
    sequences: Sequence[Sequence[Passage]],
    settings: Settings,
    seed: int = 0,
    method: Method = Method(),  # noqa: B008
    edits: Sequence[Sequence[str]] | None = None,
) -> Found:
    """Run all sequences, `settings.inner.at_once` in one program; steps that the run has finished are not run again.

    edits: `[sequence][step]`, written by anyone; by default each step's weights write their own.
    Answers that could not be graded are sent to the grader once more at the end.
    A sequence's draws depend on (seed, its place, step) alone. Of `settings`, edits, inner and answering are used.
    Raises ValueError for sequences or edits of different lengths, or naming a passage that does not fit the model's
    context.
    """
    steps = {len(s) for s in sequences}
    if len(steps) != 1 or not min(steps):
        raise ValueError(f"sequences have {sorted(steps) or 'no'} passages: give equally many of each, at least one")
    if edits is not None and [len(e) for e in edits] != [len(s) for s in sequences]:
        raise ValueError(
            f"edits of {[len(e) for e in edits]} steps: give one for each of the {min(steps)} of a sequence"
        )
    unique = list(dict.fromkeys(p for s in sequences for p in s))
    policy.check_context(model, unique, settings.edits)
    settings = dataclasses.replace(settings, answering=kept_in(run, settings.answering))
    grader = make_grader(model, settings.answering)
    before = run.stage(f"{name}/base", lambda: ask(model, unique, settings.answering, grader=grader))
    chunks = _chunks(len(sequences), settings.inner.at_once, row_groups(mesh_of(model.params)))

    def compute() -> list[list[dict[str, Any]]]:
        with progress(name, len(sequences) * min(steps)) as advance:
            make = partial(Chunk, run, name, model, sequences, settings, seed, method, grader, edits)
            for chunk in chunks:
                make(chunk).advance(advance)
            return [row for chunk in chunks for row in make(chunk).records()]

    rows = run.stage(f"{name}/steps", compute)
    return _found(sequences, rows, dict(zip(unique, before)))


def _chunks(count: int, at_once: int, devices: int) -> list[Members]:
    size = min(packing.bucket(count, packing.STEP_BUCKETS), at_once)
    size = -(-size // devices) * devices
    starts = range(0, count, size)
    return [Members(range(start, min(start + size, count)), size) for start in starts]


def _found(
    sequences: Sequence[Sequence[Passage]],
    rows: Sequence[Sequence[Mapping[str, Any]]],
    before: Mapping[Passage, Outcome],
) -> Found:
    count = len(sequences[0])
    matrices = np.full((len(sequences), count + 1, count), np.nan)
    ungraded = 0
    for matrix, passages, steps in zip(matrices, sequences, rows, strict=True):
        for r, outcomes in enumerate([[before[p] for p in passages], *(step["outcomes"] for step in steps)]):
            matrix[r, : len(outcomes)] = [accuracy(o) for o in outcomes]
            ungraded += sum(o["correct"].count(None) for o in outcomes)
    return Found(matrices, [[step["edit"] for step in steps] for steps in rows], ungraded)


def accuracy(outcome: Outcome) -> float:
    """The mean of a passage's verdicts; those that are None, ungraded, do not count. NaN without any."""
    graded = [float(v) for v in outcome["correct"] if v is not None]
    return float(np.mean(graded)) if graded else float("nan")
