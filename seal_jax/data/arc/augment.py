"""The augmentations by group and by name, and how one is applied to a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np

from seal_jax.data.arc import grids, randomized
from seal_jax.data.arc.grids import Augmenter
from seal_jax.data.arc.tasks import Grid, Task, fits_in


@dataclass(frozen=True)
class TaskAugmenter:
    """A drawn augmentation of a whole task, under the name the released code gives it; it has no fixed inverse.

    PermuteColors() is `color_map` of the task and the same generator, which has one.
    """

    name: str
    function: Callable[[Task, np.random.Generator], Task] = field(compare=False, repr=False)
    inverse: None = None

    def __call__(self, task: Task, rng: np.random.Generator) -> Task:
        """The augmented task."""
        return self.function(task, rng)


_TURNS = (
    grids.rotate(90),
    grids.rotate(270),
    grids.rotate(180),
    grids.flip(0),
    grids.flip(1),
)
_SHIFT = TaskAugmenter("RandomTranslateXY()", randomized.translate)
_REFERENCE_SHIFT = TaskAugmenter("RandomTranslateXY()", randomized.translate_reference)
_DOUBLED = grids.increase_resolution(2)

GROUPS: dict[str, tuple[Augmenter | TaskAugmenter, ...]] = {
    "basic": (
        *_TURNS,
        grids.reflect(0, reverse=True),
        grids.reflect(1, reverse=True),
        grids.reflect(0, reverse=False),
        grids.reflect(1, reverse=False),
        _SHIFT,
        grids.transpose(),
    ),
    "size": (_DOUBLED, grids.increase_height(2), grids.increase_width(2)),
    "chain": tuple(grids.chain([turn, _DOUBLED]) for turn in (*_TURNS, grids.transpose())),
    "repeat": tuple(grids.repeat(axis, 2) for axis in (0, 1, 2)),
}
REFERENCE_GROUPS = {
    name: tuple(_REFERENCE_SHIFT if member is _SHIFT else member for member in members)
    for name, members in GROUPS.items()
}
# Known and in no group that an edit can ask for.
CONCAT = tuple(grids.concat([grids.identity(), grids.rotate(180)], axis) for axis in (0, 1))
OTHERS: tuple[Augmenter | TaskAugmenter, ...] = (
    *CONCAT,
    grids.identity(),
    *(make(3) for make in (grids.increase_resolution, grids.increase_height, grids.increase_width)),
    TaskAugmenter("RandomTranslateX()", partial(randomized.translate, axes="x")),
    TaskAugmenter("RandomTranslateY()", partial(randomized.translate, axes="y")),
    TaskAugmenter("PermuteColors()", randomized.permute_colors),
    TaskAugmenter("PermuteColorsStatic()", randomized.permute_colors_static),
    TaskAugmenter("PermuteColorsRespectKeyColors()", randomized.permute_colors_but_keys),
    TaskAugmenter("PermuteExamples()", randomized.permute_examples),
    TaskAugmenter("DropoutInput()", partial(randomized.dropout, where="input")),
    TaskAugmenter("DropoutOutput()", partial(randomized.dropout, where="output")),
    TaskAugmenter("RandomObjectRotate()", randomized.rotate_objects),
    TaskAugmenter("RandomObjectTranslateXY()", randomized.move_objects),
)
# The ones a test is also asked under; all have an inverse.
QUERY_AUGMENTERS = (grids.transpose(), grids.flip(0), grids.flip(1), grids.rotate(90), grids.rotate(180))
_BY_NAME = {member.name: member for members in (*GROUPS.values(), OTHERS) for member in members}


def by_name(name: str) -> Augmenter | TaskAugmenter:
    """The augmenter of a name; ValueError that lists them for another."""
    if name not in _BY_NAME:
        raise ValueError(f"no augmenter {name!r}; there are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def apply(
    augmenter: Augmenter | TaskAugmenter, task: Task, rng: np.random.Generator | int = 0, largest_side: int = 30
) -> Task | None:
    """The task with all its inputs and outputs augmented, or None if a side would be over `largest_side`.

    rng: for those that are drawn, a generator or its seed.
    """
    if isinstance(augmenter, TaskAugmenter):
        rng = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
        result = augmenter(task, rng)
    else:
        result = randomized.mapped(partial(_augmented, augmenter), task)
    return result if fits_in(result.grids(), largest_side) else None


@lru_cache(maxsize=4096)
def _augmented(augmenter: Augmenter, grid: Grid) -> Grid:
    """One grid is in most of the tasks that leave some demonstrations out."""
    return augmenter(grid)
