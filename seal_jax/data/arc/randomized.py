"""Augmentations of a whole task that are drawn: shifts, colours, order, blanked rectangles, moved objects.

Each is a function of (task, generator). A draw is one for the task wherever inputs and outputs have to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

import numpy as np

from seal_jax.data.arc.grids import Augmenter, recolor
from seal_jax.data.arc.objects import moved_object, rotated_object
from seal_jax.data.arc.rules import check_one_of
from seal_jax.data.arc.tasks import COLORS, Example, Grid, Task

LARGEST_SHIFT = 3


def mapped(function: Callable[[Grid], Grid], task: Task) -> Task:
    """The task with every grid replaced by the function of it."""

    def both(example: Example) -> Example:
        return Example(function(example.input), function(example.output) if example.output is not None else None)

    return Task(task.id, tuple(map(both, task.demos)), tuple(map(both, task.tests)))


def rolled(grid: Grid, rows: int, columns: int) -> Grid:
    """The grid moved down and to the right, wrapping round."""
    down, right = rows % len(grid), columns % len(grid[0])
    lower = grid[len(grid) - down :] + grid[: len(grid) - down]
    return tuple(row[len(row) - right :] + row[: len(row) - right] for row in lower)


def translate(task: Task, rng: np.random.Generator, axes: Literal["xy", "x", "y"] = "xy") -> Task:
    """Every grid of the task moved by one shift of up to 3 rows ("x") and columns ("y"), not both 0, wrapping round.

    A shift is less than the longest side there is, so that it moves something. ValueError for other axes.
    """
    check_one_of(axes, ("xy", "x", "y"), "axes")
    sizes = [(len(grid), len(grid[0])) for grid in task.grids()]
    rows, columns = (min(LARGEST_SHIFT + 1, max(side)) if axis in axes else 1 for axis, side in zip("xy", zip(*sizes)))
    if rows * columns == 1:
        return task
    drawn = int(rng.integers(1, rows * columns))
    return mapped(lambda grid: rolled(grid, drawn // columns, drawn % columns), task)


def translate_reference(task: Task, rng: np.random.Generator | None = None) -> Task:
    """The shift of the released code: inputs and outputs differ, and so do examples of different sizes.

    Every example is drawn from a fresh legacy generator of seed 0, each bound being the side or 4; `rng` is not used.
    """
    del rng

    def shifted(example: Example) -> Example:
        draws = np.random.RandomState(0)
        moved = rolled(example.input, *_reference_shift(draws, example.input))
        if example.output is None:
            return Example(moved, None)
        return Example(moved, rolled(example.output, *_reference_shift(draws, example.output)))

    return Task(task.id, tuple(map(shifted, task.demos)), tuple(map(shifted, task.tests)))


def colors_of(task: Task) -> list[int]:
    """The colours that occur, ascending."""
    return sorted(set().union(*(row for grid in task.grids() for row in grid)))


def key_colors(task: Task) -> list[int]:
    """Colours that every example has in its input: those a rule may refer to."""
    each = [{cell for row in example.input for cell in row} for example in (*task.demos, *task.tests)]
    return sorted(set.intersection(*each))


def color_map(task: Task, rng: np.random.Generator, keep: Collection[int] = (0,)) -> Augmenter:
    """A map under which used colours become unused ones in random order, and where these run out, used ones.

    The colours in `keep` stay what they are, and so does 0. The inverse takes grids in the new colours back.
    """
    free = [color for color in range(1, COLORS) if color not in keep]
    used = [color for color in colors_of(task) if color in free]
    unused = [color for color in free if color not in used]
    sources = [int(color) for color in (*rng.permutation(used), *rng.permutation(unused))]
    targets = [int(color) for color in (*rng.permutation(unused), *rng.permutation(used))]
    table = dict(zip(sources, targets))
    return recolor([table.get(color, color) for color in range(COLORS)])


def permute_colors(task: Task, rng: np.random.Generator) -> Task:
    """The task under one `color_map`, tests and their outputs included."""
    return mapped(color_map(task, rng), task)


def permute_colors_static(task: Task, rng: np.random.Generator) -> Task:
    """The task under a permutation of 1-9 that does not depend on it, so that one seed maps all tasks alike."""
    return mapped(recolor([0, *(int(color) for color in rng.permutation(np.arange(1, COLORS)))]), task)


def permute_colors_but_keys(task: Task, rng: np.random.Generator) -> Task:
    """The task under one `color_map` that leaves its `key_colors` as they are."""
    return mapped(color_map(task, rng, key_colors(task)), task)


def permute_examples(task: Task, rng: np.random.Generator) -> Task:
    """The task with its demonstrations in random order."""
    return task._replace(demos=tuple(task.demos[i] for i in rng.permutation(len(task.demos))))


def dropout(task: Task, rng: np.random.Generator, where: Literal["input", "output"] = "input") -> Task:
    """One or two rectangles of each input, or of each demonstration's output, filled with an unused colour.

    What a test asks for stays whole. A task that uses all colours has them filled with 0. ValueError for another
    `where`.
    """
    check_one_of(where, ("input", "output"), "where")
    blank = next((color for color in range(COLORS) if color not in colors_of(task)), 0)
    if where == "output":
        demos = tuple(e._replace(output=_blanked(e.output, blank, rng)) for e in task.demos if e.output is not None)
        return task._replace(demos=demos)
    return _with_inputs(task, lambda grid: _blanked(grid, blank, rng))


def move_objects(task: Task, rng: np.random.Generator) -> Task:
    """One object of each input moved to a free place; outputs stay."""
    return _with_inputs(task, lambda grid: moved_object(grid, rng))


def rotate_objects(task: Task, rng: np.random.Generator) -> Task:
    """One object of each input turned by a quarter, a half or three quarters where there is room; outputs stay."""
    return _with_inputs(task, lambda grid: rotated_object(grid, rng))


def _reference_shift(draws: np.random.RandomState, grid: Grid) -> tuple[int, int]:
    return draws.randint(0, min(4, len(grid))), draws.randint(0, min(4, len(grid[0])))


def _with_inputs(task: Task, function: Callable[[Grid], Grid]) -> Task:
    demos, tests = (
        tuple(example._replace(input=function(example.input)) for example in examples)
        for examples in (task.demos, task.tests)
    )
    return Task(task.id, demos, tests)


def _blanked(grid: Grid, color: int, rng: np.random.Generator) -> Grid:
    cells = np.array(grid)
    for _ in range(rng.integers(1, 3)):
        height, width = (int(rng.integers(1, max(side // 2, 1) + 1)) for side in cells.shape)
        row, column = (int(rng.integers(side - size + 1)) for side, size in zip(cells.shape, (height, width)))
        cells[row : row + height, column : column + width] = color
    return tuple(tuple(row) for row in cells.tolist())
