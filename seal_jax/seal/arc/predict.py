"""Augmented prediction: every query of every task decoded greedily, read as grids, turned back, put to the vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax

from seal_jax import generation, models
from seal_jax.data.arc import Grid, Task, parse_grid
from seal_jax.seal.arc.settings import Prediction
from seal_jax.seal.arc.texts import Posed
from seal_jax.seal.arc.vote import Prediction as Vote
from seal_jax.seal.arc.vote import vote
from seal_jax.seal.inner_loop import Memory, Store

Outcome = dict[str, Any]
"""What became of one task, plain JSON data:
"attempts": of each test the two grids handed in, None for none; "solved": of each test whether either is right, None
where the answer is not known; "correct": all tests solved, None if any is not known; "cells": the mean over tests of
the larger share of right cells of the two attempts (0 for a grid of another size), None if not known;
"queries": how many were asked, "read": how many answers were grids."""


def answer(
    model: models.Model,
    posed: Sequence[Posed],
    how: Prediction,
    names: Sequence[str],
    store: Store | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[str]]:
    """The model's own answers to the queries of every task, in order.

    names: of the tasks. An answer is kept in `store` as "name/query"; queries are decoded together in the same way
    whatever is there already. on_progress: called with the number of tasks whose last answer is there.
    """
    store = Memory() if store is None else store
    flat = [(t, q) for t, one in enumerate(posed) for q in range(len(one.prompts))]
    # Queries of similar length together: a batch is as long as its longest row.
    flat.sort(key=lambda tq: (len(posed[tq[0]].prompts[tq[1]]), tq))
    params = models.unroll(model.params)
    left = [len(one.prompts) for one in posed]
    if on_progress and 0 in left:
        on_progress(left.count(0))
    for start in range(0, len(flat), how.rows):
        chunk = flat[start : start + how.rows]
        ids = [f"{names[t]}/{q}" for t, q in chunk]
        if any(id not in store for id in ids):
            out = generation.generate(
                params,
                model.config,
                [posed[t].prompts[q] for t, q in chunk],
                None,
                max_new_tokens=[posed[t].limits[q] for t, q in chunk],
                tokenizer=model.tokenizer,
            )
            for id, text in zip(ids, out.texts or ()):
                if id not in store:
                    store.add(id, text)
        for t, _ in chunk:
            left[t] -= 1
        if on_progress:
            on_progress(sum(left[t] == 0 for t in {t for t, _ in chunk}))
    return [[store[f"{name}/{q}"] for q in range(len(one.prompts))] for name, one in zip(names, posed)]


def answer_adapted(model: models.Model, adapters: Any, posed: Sequence[Posed], how: Prediction) -> list[list[str]]:
    """The answers of adapter n to the queries `posed[n]`, all adapters at once.

    adapters: leaves with a leading axis N; those beyond `posed` are asked nothing.
    """
    spare = len(jax.tree.leaves(adapters)[0]) - len(posed)
    most = max((len(one.prompts) for one in posed), default=0)
    found: list[list[str]] = [[] for _ in posed]
    for start in range(0, most, how.rows):
        part = slice(start, start + how.rows)
        outs = generation.generate_batch(
            model.params,
            model.config,
            adapters,
            [*(one.prompts[part] for one in posed), *[[] for _ in range(spare)]],
            None,
            max_new_tokens=[*(one.limits[part] for one in posed), *[0] * spare],
            tokenizer=model.tokenizer,
        )
        for texts, out in zip(found, outs):
            texts += out.texts or []
    return found


def judge(task: Task, posed: Posed, texts: Sequence[str], how: Prediction, single: bool = False) -> Outcome:
    """The outcome of a task's answers. single: the first answer alone is handed in, in place of a vote."""
    attempts, read = [], 0
    for test in range(len(task.tests)):
        predictions = [
            Vote(grid if inverse is None else inverse(grid), None if inverse is None else inverse.name)
            for number, text, inverse in zip(posed.tests, texts, posed.inverses)
            if number == test and (grid := parse_grid(text, how.rules)) is not None
        ]
        read += len(predictions)
        first = predictions[0].grid if predictions else None
        attempts.append((first, None) if single else vote(predictions, how.rules))
    outputs = [example.output for example in task.tests]
    return {
        "attempts": [[None if grid is None else [list(row) for row in grid] for grid in two] for two in attempts],
        **score(outputs, attempts),
        "queries": len(posed.prompts),
        "read": read,
    }


def score(outputs: Sequence[Grid | None], attempts: Sequence[tuple[Grid | None, Grid | None]]) -> Outcome:
    """The part of an outcome that compares attempts with the outputs of the tests."""
    pairs = list(zip(outputs, attempts, strict=True))
    solved = [None if gold is None else gold in two for gold, two in pairs]
    cells = [max(_share(gold, grid) for grid in two) for gold, two in pairs if gold is not None]
    known = len(cells) == len(pairs)
    return {
        "solved": solved,
        "correct": all(solved) if known else None,
        "cells": sum(cells) / len(cells) if known else None,
    }


def nothing(task: Task) -> Outcome:
    """The outcome of a task for which nothing is handed in: an edit that is none, or a fine-tune that diverged."""
    scores = score([example.output for example in task.tests], [(None, None)] * len(task.tests))
    return {"attempts": [[None, None] for _ in task.tests], **scores, "queries": 0, "read": 0}


def _share(gold: Grid, grid: Grid | None) -> float:
    if grid is None or (len(grid), len(grid[0])) != (len(gold), len(gold[0])):
        return 0.0
    pairs = Counter(a == b for one, other in zip(gold, grid) for a, b in zip(one, other))
    return pairs[True] / (len(gold) * len(gold[0]))
