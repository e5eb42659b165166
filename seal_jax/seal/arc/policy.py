"""The policy on ARC: responses drawn until they are edits, and the rows of those that solved their task."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from seal_jax import generation, models
from seal_jax.data.arc import Task
from seal_jax.seal.arc.edits import parse_edit
from seal_jax.seal.arc.schema import GROUPS, STRATEGIES, EditConfig, Refused
from seal_jax.seal.arc.texts import Texts, check_ids, task_number
from seal_jax.seal.arc.trials import Trial, admitted
from seal_jax.seal.inner_loop import Memory, Store


class Written(NamedTuple):
    """One edit: the response that counts, what it says, and why each response before it did not count."""

    text: str
    edit: EditConfig | Refused
    refused: list[str]


def write_edits(
    model: models.Model,
    tasks: Sequence[Task],
    texts: Texts,
    count: int,
    seed: int,
    store: Store | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[Written]]:
    """`count` edits of each task. A response that is no edit of its task is drawn again, `attempts` times in all.

    What then still is none stays as it is, Refused. A draw depends on (seed, task, number of the edit, attempt) alone.
    What `store` already holds, by "task/edit/attempt", is not drawn again. on_progress: called with the number of
    edits that are settled. Raises ValueError naming a task whose prompt fills the context, and for two tasks of one id.
    """
    check_ids(tasks)
    store = Memory() if store is None else store
    edits = texts.settings.edits
    encoded = [_encoded(task, texts) for task in tasks]
    written = {(i, k): Written("", Refused("nothing was drawn"), []) for i in range(len(tasks)) for k in range(count)}
    open_ = sorted(written, key=lambda ik: (len(encoded[ik[0]]), ik))
    params = models.unroll(model.params)
    for attempt in range(edits.attempts if edits.temperature > 0 else 1):
        for chunk in _chunks(open_, edits.rows):
            ids = [f"{tasks[i].id}/{k}/{attempt}" for i, k in chunk]
            if any(id not in store for id in ids):
                rows = [zlib.crc32(f"{task_number(tasks[i])} {k} {attempt}".encode()) & 0x7FFFFFFF for i, k in chunk]
                drawn = _drawn(model._replace(params=params), [encoded[i] for i, _ in chunk], rows, texts, seed)
                for id, text in zip(ids, drawn):
                    if id not in store:
                        store.add(id, text)
            for (i, k), id in zip(chunk, ids):
                before = written[i, k]
                refused = [*before.refused, before.edit.reason] if attempt and isinstance(before.edit, Refused) else []
                written[i, k] = Written(store[id], read(store[id], tasks[i], texts), refused)
        settled = [ik for ik in open_ if not isinstance(written[ik].edit, Refused)]
        open_ = [ik for ik in open_ if isinstance(written[ik].edit, Refused)]
        if on_progress:
            on_progress(len(settled))
    if on_progress and open_:
        on_progress(len(open_))
    return [[written[i, k] for k in range(count)] for i in range(len(tasks))]


def read(text: str, task: Task, texts: Texts) -> EditConfig | Refused:
    """The edit that a response states for a task, or why it states none or none that can be trained."""
    settings = texts.settings
    edit = parse_edit(text, settings.ttt.limits, settings.edits.rules)
    return edit if isinstance(edit, Refused) else admitted(edit, task, texts)


def random_edits(
    tasks: Sequence[Task], texts: Texts, count: int, seed: int, epochs: int = 5
) -> list[list[EditConfig | Refused]]:
    """`count` valid edits of each task drawn without any model: what a policy has to beat.

    Each group with probability 1/2, either strategy, a learning rate log-uniform from 1e-5 to 1e-2 (or the largest
    allowed, and then from at most a tenth of it), 1 to `epochs` epochs; drawn again while the task cannot be trained
    so.
    """
    return [[_random_edit(task, texts, seed, k, epochs) for k in range(count)] for task in tasks]


def _random_edit(task: Task, texts: Texts, seed: int, number: int, epochs: int) -> EditConfig | Refused:
    rng = np.random.default_rng([seed, task_number(task), number])
    most = min(1e-2, texts.settings.ttt.max_learning_rate)
    high = np.log10(most)
    low = min(-5.0, high - 1)
    found: EditConfig | Refused = Refused("nothing was drawn")
    for _ in range(100):
        groups = tuple(group for group in GROUPS if rng.random() < 0.5)
        rate = min(float(f"{10 ** rng.uniform(low, high):.1e}"), most)
        edit = EditConfig(groups, STRATEGIES[rng.integers(2)], rate, int(rng.integers(1, epochs + 1)))
        found = admitted(edit, task, texts)
        if isinstance(found, EditConfig):
            break
    return found


def trials(tasks: Sequence[Task], written: Sequence[Sequence[Written]]) -> list[Trial]:
    """The trials of all edits, task after task."""
    return [Trial(task, one.edit) for task, edits in zip(tasks, written) for one in edits]


def cloning_rows(
    tasks: Sequence[Task], written: Sequence[Sequence[Written]], rewards: Sequence[Sequence[float]], texts: Texts
) -> list[dict[str, str]]:
    """`{"prompt", "completion"}` of every edit with reward 1: the released rule, in which equal edits count each."""
    return [
        {"prompt": texts.prompt(task), "completion": one.text}
        for task, edits, gained in zip(tasks, written, rewards)
        for one, reward in zip(edits, gained)
        if reward == 1
    ]


def gained(rewards: Sequence[Sequence[float]], before: Sequence[float | None]) -> list[list[float]]:
    """The rewards of each task's edits, 0 where the task was solved before any training (`before` is 1)."""
    return [[reward * (known == 0) for reward in row] for row, known in zip(rewards, before, strict=True)]


def refusals(written: Sequence[Sequence[Written]], most: int = 12) -> dict[str, Any]:
    """How many responses were drawn, how many edits none of them gave, and the most frequent reasons."""
    every = [one for edits in written for one in edits]
    lost = [one.edit.reason for one in every if isinstance(one.edit, Refused)]
    reasons = Counter(_kind(reason) for reason in [*lost, *(r for one in every for r in one.refused)])
    return {
        "edits": len(every),
        "responses": sum(1 + len(one.refused) for one in every),
        "without_edit": len(lost),
        "refused": dict(reasons.most_common(most)),
    }


def _kind(reason: str) -> str:
    """A reason without its particulars."""
    return "not JSON" if reason.startswith("not JSON") else re.sub(r"\d[\d.e+-]*", "N", reason)


def _encoded(task: Task, texts: Texts) -> list[int]:
    tokens = list(texts.tokenizer.encode(texts.prompt(task)))
    if len(tokens) >= texts.context:
        raise ValueError(
            f"task {task.id}: its edit prompt has {len(tokens)} tokens and the model's context is {texts.context}; "
            "leave the task out or take a model with a longer context"
        )
    return tokens


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _drawn(
    model: models.Model, encoded: Sequence[list[int]], rows: Sequence[int], texts: Texts, seed: int
) -> list[str]:
    edits = texts.settings.edits
    out = generation.generate(
        model.params,
        model.config,
        encoded,
        jax.random.key(seed),
        max_new_tokens=[min(edits.max_new_tokens, texts.context - len(tokens)) for tokens in encoded],
        temperature=edits.temperature,
        tokenizer=model.tokenizer,
        row_ids=rows,
    )
    return out.texts or []
