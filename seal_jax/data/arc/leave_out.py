"""Training tasks made of a task's own demonstrations, and the augmented forms in which its tests are asked.

Everything is reproducible: duplicates are dropped in order, and each draw has a generator of its own, whose seed is
made of the caller's, the task's id and the draw's position.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import combinations, islice
from typing import NamedTuple

import numpy as np

from seal_jax.data.arc.augment import GROUPS, QUERY_AUGMENTERS, REFERENCE_GROUPS, TaskAugmenter, apply
from seal_jax.data.arc.grids import Augmenter
from seal_jax.data.arc.randomized import permute_colors, permute_examples
from seal_jax.data.arc.rules import Rules, check_rules
from seal_jax.data.arc.tasks import Task

# What a draw is for: the last but one part of its seed, so that no two kinds of draw share a generator.
_AUGMENT, _COPY, _CAP, _ORDER, _CHOICE = range(5)


class Query(NamedTuple):
    """A test in one form: a task with one test of unknown output, and what takes the answer back (None: nothing)."""

    task: Task
    inverse: Augmenter | None


def leave_out(task: Task, n: int) -> list[Task]:
    """Each demonstration as the test, with all but `n - 1` of the others as demonstrations, in every way there is.

    `N` tasks for n = 1, and N(N - 1) for n = 2; those of a task with N = n demonstrations have none themselves.
    """
    if n < 1:
        raise ValueError(f"leave_n={n}: at least the demonstration that becomes the test is left out")
    made = []
    for i, test in enumerate(task.demos):
        others = task.demos[:i] + task.demos[i + 1 :]
        made += [Task(task.id, demos, (test,)) for demos in _without(others, n - 1)]
    return made


def training_tasks(
    task: Task,
    groups: Collection[str],
    *,
    leave_n: Sequence[int] = (1, 2),
    permute_n: int = 1,
    most: int | None = 250,
    fits: Callable[[Task], bool] | None = None,
    seed: int = 0,
    rules: Rules = "ours",
) -> list[Task]:
    """Tasks with one test of known output to train on, all different, made of the demonstrations of `task`.

    For each n of `leave_n`: the tasks of `leave_out`, each of them under every augmentation of the groups ("basic",
    "size", "chain", "repeat") that keeps all sides at 30 or less, and `permute_n` copies of all these with the
    demonstrations in another order and, if there is an augmentation, in other colours. Of those that `fits` accepts
    `most` are taken at random (None: all of them). The tests of `task` play no part.

    rules: "reference" shifts grids as the released code does (`randomized.translate_reference`).
    ValueError for an unknown group and for other rules.
    """
    check_rules(rules)
    table = REFERENCE_GROUPS if rules == "reference" else GROUPS
    unknown = set(groups) - set(table)
    if unknown:
        raise ValueError(f"no augmentation group {', '.join(sorted(map(repr, unknown)))}; there are {', '.join(table)}")
    members = [(m, isinstance(m, TaskAugmenter)) for group in table if group in groups for m in table[group]]
    made: list[Task] = []
    for n in leave_n:
        plain = leave_out(task, n)
        augmented = [
            apply(member, one, _generator(task, seed, _AUGMENT, n, index, i) if drawn else 0)
            for i, (member, drawn) in enumerate(members)
            for index, one in enumerate(plain)
        ]
        kept = _distinct([*plain, *(one for one in augmented if one is not None)])
        copies = [
            _copied(one, _generator(task, seed, _COPY, n, index, k), bool(members))
            for k in range(permute_n)
            for index, one in enumerate(kept)
        ]
        made += _distinct([*kept, *copies])
    return _capped(_distinct(made), most, fits, _generator(task, seed, _CAP))


def queries(
    task: Task,
    test: int,
    *,
    include_n: Sequence[int] = (1,),
    permute_n: int = 2,
    fits: Callable[[Task], bool] | None = None,
    seed: int = 0,
    rules: Rules = "ours",
) -> list[Query]:
    """The forms in which test number `test` is asked, all different.

    Each choice of demonstrations without n of them (n of `include_n`), each also in `permute_n` other orders; and one
    of these forms, drawn for each, under every one of QUERY_AUGMENTERS. Only what `fits` accepts; where nothing does,
    more demonstrations are left out until something does. The result is empty if even one demonstration is too much.

    Outputs of tests are unknown, in the result and to `fits`. rules="reference" shows `fits` the gold output where
    there is one, leaves out two demonstrations at most, and asks without any where a task has one.
    ValueError for other rules.
    """
    check_rules(rules)
    n_demos, reference = len(task.demos), rules == "reference"
    asked = task.tests[test] if reference else task.tests[test]._replace(output=None)
    accepted = fits or (lambda _: True)
    possible = [n for n in include_n if reference or n < n_demos] or [0]
    for leave in (possible, *([n] for n in range(2, 3 if reference else n_demos) if n not in possible)):
        forms = [Task(task.id, demos, (asked,)) for n in leave for demos in _without(task.demos, n)]
        made = [query for query in _forms(forms, permute_n, task, seed) if accepted(query.task)]
        if made:
            return [query._replace(task=_unanswered(query.task)) for query in made]
    return []


def _forms(forms: list[Task], permute_n: int, task: Task, seed: int) -> list[Query]:
    shuffled = (
        permute_examples(form, _generator(task, seed, _ORDER, index, k))
        for index, form in enumerate(forms)
        for k in range(permute_n)
    )
    plain = _distinct([*forms, *shuffled])
    made = {form: Query(form, None) for form in plain}
    for index, augmenter in enumerate(QUERY_AUGMENTERS if plain else ()):
        drawn = plain[_generator(task, seed, _CHOICE, index).integers(len(plain))]
        augmented = apply(augmenter, drawn)
        if augmented is not None:
            made.setdefault(augmented, Query(augmented, augmenter.inverse))
    return list(made.values())


def _unanswered(task: Task) -> Task:
    return task._replace(tests=tuple(example._replace(output=None) for example in task.tests))


def _without(examples: tuple, n: int) -> list[tuple]:
    """The examples without n of them, in every way, their order kept; nothing if there are fewer than n."""
    dropped = combinations(range(len(examples)), n)
    return [tuple(e for i, e in enumerate(examples) if i not in gone) for gone in dropped]


def _copied(task: Task, rng: np.random.Generator, recolor: bool) -> Task:
    return permute_examples(permute_colors(task, rng) if recolor else task, rng)


def _capped(
    tasks: list[Task], most: int | None, fits: Callable[[Task], bool] | None, rng: np.random.Generator
) -> list[Task]:
    """A random `most` of those that fit. Drawn first, looked at then: `fits` tokenises, and there may be thousands."""
    if most is not None and len(tasks) > most:
        tasks = [tasks[i] for i in rng.permutation(len(tasks))]
    return list(islice((task for task in tasks if fits is None or fits(task)), most))


def _distinct(tasks: Iterable[Task]) -> list[Task]:
    return list(dict.fromkeys(tasks))


def _generator(task: Task, seed: int, *position: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(task.id.encode()), *position])
