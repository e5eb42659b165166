"""The grids world: ARC tasks on small grids, each made by one rule with colours of its own.

Rules and compositions of two rules belong to one split each, so a task of "train", "dev" or "test" follows a rule that
pretraining never showed, and a task of "test" one that SEAL's rounds on "train" and choices on "dev" never saw either.
"""

from __future__ import annotations

import zlib

import numpy as np

from seal_jax.data.arc import Example, Grid, Task
from seal_jax.data.arc.tasks import LARGEST_SIDE
from seal_jax.data.worlds.grids_rules import Rule, rule
from seal_jax.data.worlds.grids_splits import SPLITS

SIDE, DEMOS = 3, 4
_EMPTY = 0.2  # of cells, besides those that a rule empties


def tasks(split: str, count: int, seed: int = 0, start: int = 0, side: int = SIDE, demos: int = DEMOS) -> list[Task]:
    """Tasks `start` to `start + count` of a split; its rules take turns, so any long run of them has all alike.

    split: a name of SPLITS ("pretraining", "train", "dev", "test", "others"); no rule and no composition is in two of
    them. seed: other tasks of the same rules. side: of the square grids, 3 to 30. demos: demonstrations, besides one
    test. A task is a function of split, seed, number, side and demos alone; its id is "SPLIT/RULE/NUMBER", and then
    "-SEED", "-sideSIDE", "-demosDEMOS" for those that are not the usual ones, so that no two tasks have one id.

    Raises ValueError for an unknown split and for numbers out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"{split!r}: no split of the grids world; splits are {', '.join(SPLITS)}")
    _at_least(0, count=count, seed=seed, start=start)
    _check_sizes(side, demos)
    made = []
    for number in range(start, start + count):
        rng = np.random.default_rng([seed, zlib.crc32(split.encode()), number])
        name = SPLITS[split][number % len(SPLITS[split])]
        others = (("", seed, 0), ("side", side, SIDE), ("demos", demos, DEMOS))
        suffix = "".join(f"-{what}{value}" for what, value, usual in others if value != usual)
        made.append(task(rule(name), rng, f"{split}/{name}/{number}{suffix}", side, demos))
    return made


def task(by: Rule, rng: np.random.Generator, name: str = "", side: int = SIDE, demos: int = DEMOS) -> Task:
    """A task of one rule: colours drawn for it, inputs all different, and every output unlike its input.

    ValueError for a side or a number of demonstrations out of range.
    """
    _check_sizes(side, demos)
    inputs, outputs = draw(by, rng, demos + 1, side)
    pairs = [Example(_grid(i), _grid(o)) for i, o in zip(inputs, outputs)]
    return Task(name or by.name, tuple(pairs[:-1]), (pairs[-1],))


def draw(by: Rule, rng: np.random.Generator, count: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs of one task, int `[count, side, side]` each. Colours: 0 is empty, 4 to 8 others are in use."""
    while True:
        palette = rng.permutation(np.arange(1, 10))[: rng.integers(4, 9)]
        first = int(palette[0])
        # The second colour is one of the grids' own as often as any other.
        second = int(palette[1]) if rng.random() < 0.5 else int(rng.choice([c for c in range(1, 10) if c != first]))
        inputs = palette[rng.integers(0, len(palette), (4 * count, side, side))]
        inputs = np.unique(np.where(rng.random(inputs.shape) < _EMPTY, 0, inputs), axis=0)
        inputs = inputs[rng.permutation(len(inputs))]
        outputs = by.apply(inputs, (first, second))
        changed = (inputs != outputs).any((1, 2)).nonzero()[0][:count]
        if len(changed) == count:
            return inputs[changed], outputs[changed]


def _check_sizes(side: int, demos: int) -> None:
    if not 3 <= side <= LARGEST_SIDE:
        raise ValueError(f"side={side}: rules are for grids of 3 x 3 to {LARGEST_SIDE} x {LARGEST_SIDE}")
    _at_least(1, demos=demos)


def _at_least(least: int, **numbers: int) -> None:
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"{name}={number}: use {least} or more")


def _grid(cells: np.ndarray) -> Grid:
    return tuple(tuple(map(int, row)) for row in cells)
