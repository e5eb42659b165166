"""The task that a classification expert is trained for, made of the tasks it is to tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seal_jax.data.packing import permutation
from seal_jax.data.problems import Problem
from seal_jax.transformer2.classify import OTHERS, Classifier
from seal_jax.transformer2.tasks import Task


def classification_task(
    classifier: Classifier,
    tasks: Mapping[str, Task],
    tokenizer: Any = None,
    *,
    others: Sequence[Task] = (),
    most: int = 400,
    seed: int = 0,
    name: str = "classify",
) -> Task:
    """Problems of which the right answer is the label of the task they come from.

    tasks: the task of each label; others: tasks that come under `others`, of which the released code has none.
    Training problems are from the train splits; of the validation splits every other problem is for validation, and
    the rest for test. **No test split is read.** The released code trains this expert on four fifths of 399 test
    problems each of GSM8K and ARC-Challenge, on which dispatch is scored afterwards. At most `most` problems of each
    label and split, drawn by `seed`; several tasks of `others` share theirs. Raises ValueError for a label without a
    task or a task without a label, and for a task without problems to train on or with fewer than two to validate on.
    """
    labels = set(classifier.names) - {OTHERS}
    if set(tasks) != labels:
        raise ValueError(f"tasks are for {', '.join(sorted(tasks))} and labels are {', '.join(sorted(labels))}")
    splits: dict[str, list[Problem]] = {"train": [], "validation": [], "test": []}
    for number, (label, task) in enumerate([*tasks.items(), *((OTHERS, task) for task in others)]):
        if not len(task.train) or len(task.validation) < 2:
            raise ValueError(
                f"task {task.name!r}, label {label!r}, has {len(task.train)} train and {len(task.validation)} "
                "validation problems: sorting is learnt from the first, 1 or more, and tried on the second, 2 or more"
            )
        share = most if label != OTHERS else -(-most // len(others))
        pools = {"train": task.train, "validation": task.validation[::2], "test": task.validation[1::2]}
        for part, (split, pool) in enumerate(pools.items()):
            chosen = [pool[i] for i in permutation(len(pool), seed, number, part)[:share]]
            made = classifier.problems(chosen, tokenizer, label)
            splits[split] += [p._replace(id=f"{task.name}/{p.id}") for p in made]
    return classifier.task(name)._replace(**splits)
