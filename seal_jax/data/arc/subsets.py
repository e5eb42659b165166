"""Which tasks the commands of the released README use: counted in test inputs, and not the same ones throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seal_jax.data.arc.tasks import Task


class Subset(NamedTuple):
    """Ids of the tasks that get edits, in file order, and of those that are scored, in the order they are met in."""

    edited: tuple[str, ...]
    scored: tuple[str, ...]


def reference_subset(tasks: Sequence[Task], edited: int, scored: int) -> Subset:
    """The tasks that the released commands reach when told to take so many.

    Both numbers count test inputs, of which a task can have several: edits are made for the tasks of the first
    `edited` inputs, and the tasks all of whose inputs are among the first `scored` are scored after the inputs were
    shuffled (legacy numpy generator, seed 0). The README's numbers are 12 and 11 for the training subset, which leaves
    11 and 10 of its 12 tasks, and 10 and 9 for the evaluation subset, which leaves 9 and 8 of its 10: two tasks with
    edits are never scored, and ce8d95cc is scored without having any. To use all tasks, use `tasks`.
    """
    inputs = [task.id for task in tasks for _ in task.tests]
    shuffled = [inputs[i] for i in np.random.RandomState(0).permutation(len(inputs))][:scored]
    whole = {task.id for task in tasks if shuffled.count(task.id) == len(task.tests)}
    first = dict.fromkeys(inputs[:edited])
    return Subset(tuple(first), tuple(name for name in dict.fromkeys(shuffled) if name in whole))
