"""Tasks in a row as arrays of one shape, so that one compiled program learns them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seal_jax.data.packing import permutation


class Task(NamedTuple):
    """name; train: dict of NumPy arrays `[n, ...]` (with lanes `[N, n, ...]`); test: whatever `evaluate` reads;
    epochs: passes over `train`, where they are not those of the settings (None).
    """

    name: str
    train: Mapping[str, Any]
    test: Any = None
    epochs: int | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
    """How tasks are trained.

    batch_size: new rows of a step; an epoch is one pass over the new task, whatever a method adds to the batches, and
    the last step is filled with rows of the next pass. epochs: passes. seed: of the order and of all keys.
    importance_rows: at most so many rows of a task are given to methods to estimate importances from (None: one pass
    over the task with the fewest). They are whole batches, and as many for every task, since a stream is one program.
    accumulate: parts of a step whose gradients are summed. every: steps between checkpoints (None: at tasks' ends).
    evaluate: which tasks are scored after each: "all"; "seen"; "next", those seen and the one to come, and before the
    first task all of them, which is what forward transfer reads.
    """

    batch_size: int = 8
    epochs: int = 1
    seed: int = 0
    importance_rows: int | None = None
    accumulate: int = 1
    every: int | None = None
    evaluate: str = "all"

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "importance_rows", "accumulate", "every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: use 1 or more")
        if self.evaluate not in ("all", "seen", "next"):
            raise ValueError(f"evaluate={self.evaluate!r} is not one of 'all', 'seen', 'next'")


class Part(NamedTuple):
    """One task, padded to the shapes of its stream. rows: dict of arrays `[n, ...]`; count: how many of the n are real;
    order: int32 `[S, B]`, the rows of each step, of which the first `steps` are taken. With lanes rows and order lead
    with N.
    """

    rows: dict[str, np.ndarray]
    count: int
    order: np.ndarray
    steps: int


def parts(tasks: Sequence[Task], settings: Settings, lanes: int | None, seeds: Sequence[int]) -> list[Part]:
    """The tasks as arrays of one shape. seeds: of each lane. ValueError for tasks that are no stream."""
    if not tasks:
        raise ValueError("there are no tasks: give one or more")
    arrays = [{name: np.asarray(x) for name, x in task.train.items()} for task in tasks]
    axis = 0 if lanes is None else 1
    counts = [_count(task.name, rows, lanes) for task, rows in zip(tasks, arrays)]
    _check_alike(tasks, arrays, axis)
    most, made = max(counts), []
    steps = [_steps(task, count, settings) for task, count in zip(tasks, counts)]
    for index, (rows, count, taken) in enumerate(zip(arrays, counts, steps)):
        spare = [(0, 0)] * axis + [(0, most - count)]
        padded = {k: np.pad(x, spare + [(0, 0)] * (x.ndim - axis - 1)) for k, x in rows.items()}
        orders = [_order(count, taken, max(steps), settings.batch_size, (s, index)) for s in seeds]
        made.append(Part(padded, count, orders[0] if lanes is None else np.stack(orders), taken))
    return made


def task_steps(tasks: Sequence[Task], settings: Settings) -> list[int]:
    """The steps that each task is trained for, without lanes. ValueError for tasks that cannot be trained on."""
    return [_steps(t, _count(t.name, {k: np.asarray(x) for k, x in t.train.items()}, None), settings) for t in tasks]


def importance_batches(parts_: Sequence[Part], settings: Settings) -> int:
    """How many of the first batches of a task are `importance_rows`, or one pass over the smallest task: K for all."""
    most = settings.importance_rows
    counts = [part.count if most is None else min(part.count, most) for part in parts_]
    return min(max(1, min(counts) // settings.batch_size), *(part.steps for part in parts_))


def _steps(task: Task, count: int, settings: Settings) -> int:
    epochs = settings.epochs if task.epochs is None else task.epochs
    if epochs < 1:
        raise ValueError(f"task {task.name!r} has epochs={epochs}: use 1 or more, or None for those of the settings")
    return -(-count * epochs // settings.batch_size)


def _order(count: int, taken: int, steps: int, batch: int, counter: tuple[int, int]) -> np.ndarray:
    passes = [permutation(count, *counter, p) for p in range(-(-taken * batch // count))]
    rows = np.concatenate(passes)[: taken * batch].reshape(taken, batch)
    return np.pad(rows, ((0, steps - taken), (0, 0))).astype(np.int32)


def _count(name: str, rows: dict[str, np.ndarray], lanes: int | None) -> int:
    axes = 1 if lanes is None else 2
    heads = {x.shape[:axes] for x in rows.values()}
    if len(heads) != 1 or len(next(iter(heads))) != axes or (lanes is not None and next(iter(heads))[0] != lanes):
        wanted = "[n, ...]" if lanes is None else f"[{lanes}, n, ...]"
        shapes = {key: x.shape for key, x in rows.items()}
        raise ValueError(f"task {name!r}: its training arrays need equal leading axes {wanted}, and have {shapes}")
    count = next(iter(heads))[-1]
    if not count:
        raise ValueError(f"task {name!r} has no training rows")
    return count


def _check_alike(tasks: Sequence[Task], arrays: Sequence[dict[str, np.ndarray]], axis: int) -> None:
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise ValueError(f"tasks need names of their own, got {names}")
    kinds = [{k: (x.shape[axis + 1 :], str(x.dtype)) for k, x in rows.items()} for rows in arrays]
    for task, kind in zip(tasks, kinds):
        if kind != kinds[0]:
            raise ValueError(
                f"task {task.name!r} has rows {kind} and task {names[0]!r} has {kinds[0]}: a stream is one program, so "
                "pad them to one shape"
            )
