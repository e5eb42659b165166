"""The layout of TRACE: TASK/{train,eval,test}.json, lists of {"prompt", "answer"}."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from seal_jax.data import json_fields
from seal_jax.data.streams.tasks import Example, TextTask


class TraceTask(NamedTuple):
    """score: as in `TextTask`; epochs: passes that are published."""

    score: str
    epochs: int


TRACE_TASKS: dict[str, TraceTask] = {
    "C-STANCE": TraceTask("accuracy", 5),
    "FOMC": TraceTask("accuracy", 3),
    "MeetingBank": TraceTask("rouge_l", 7),
    "Py150": TraceTask("similarity", 5),
    "ScienceQA": TraceTask("accuracy", 3),
    "NumGLUE-cm": TraceTask("accuracy", 5),
    "NumGLUE-ds": TraceTask("accuracy", 5),
    "20Minuten": TraceTask("sari", 7),
}
"""The published tasks in the published order."""


def load_trace(folder: pathlib.Path, order: Sequence[str] = tuple(TRACE_TASKS)) -> list[TextTask]:
    """The tasks of `order`, each a directory in `folder`; one that is not TRACE's own is scored by "accuracy".

    A task whose training answers are at most 20 short ones has them as its labels. eval.json may be missing.
    Raises ValueError, naming the place, for what cannot be read and a task that is not there.
    """
    if not order:
        raise ValueError("the order of the stream is empty: name a task or more")
    return [_load(folder, name) for name in order]


def _load(folder: pathlib.Path, name: str) -> TextTask:
    path = folder / name
    if not path.is_dir():
        there = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        raise ValueError(f"{folder}: the task {name!r} is not there; found {', '.join(there) or 'no directory'}")
    train, test = (_examples(path / f"{split}.json") for split in ("train", "test"))
    held = _examples(path / "eval.json") if (path / "eval.json").exists() else ()
    known = TRACE_TASKS.get(name, TraceTask("accuracy", 1))
    labels = sorted({example.answer for example in train})
    few = known.score == "accuracy" and len(labels) <= 20 and max(map(len, labels), default=0) <= 40
    epochs = known.epochs if name in TRACE_TASKS else None
    return TextTask(name, train, held, test, tuple(labels) if few else (), known.score, epochs)


def _examples(path: pathlib.Path) -> tuple[Example, ...]:
    rows = [(where, item) for where, item in json_fields.rows(path, "examples")]
    if not rows:
        raise ValueError(f"{path}: the list of examples is empty")
    texts = [(json_fields.text(x, "prompt", at), json_fields.text(x, "answer", at)) for at, x in rows]
    return tuple(Example(prompt, answer) for prompt, answer in texts)
