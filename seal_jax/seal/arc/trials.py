"""Edits tried on tasks: test-time training, then prediction, for a whole group of edits at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from seal_jax import models
from seal_jax.data.arc import Task
from seal_jax.seal.arc import predict, ttt
from seal_jax.seal.arc.edits import limit_steps
from seal_jax.seal.arc.predict import Outcome
from seal_jax.seal.arc.schema import EditConfig, Refused
from seal_jax.seal.arc.texts import Posed, Texts, check_ids
from seal_jax.seal.inner_loop import Memory, Store


class Trial(NamedTuple):
    """An edit, or why there is none, and the task it is for."""

    task: Task
    edit: EditConfig | Refused


def run_trials(
    model: models.Model,
    trials: Sequence[Trial],
    texts: Texts,
    store: Store | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Try every edit; outcomes in order, as `predict.Outcome` and

    "sequences", "steps": what was trained on, and for how long; "loss": before the last step, None for no steps;
    "diverged": whether the weights were no numbers in the end (nothing is then handed in);
    "refused": why the edit was not tried, or None.
    Trials of one task and equal edits are one fine-tune. What `store` already holds, by a trial's `key`, is not run
    again; groups are formed from all trials, so that a resumed run computes what an uninterrupted one would have.
    on_progress: called with the number of trials finished. Raises ValueError for two tasks of one id.
    """
    check_ids(trial.task for trial in trials)
    store = Memory() if store is None else store
    by_key: dict[str, list[int]] = {}
    for i, trial in enumerate(trials):
        by_key.setdefault(key(trial), []).append(i)
    tried = {name: trials[at[0]] for name, at in by_key.items()}
    jobs, refused = _jobs(tried, texts)
    for name, reason in refused.items():
        if name not in store:
            store.add(name, {**predict.nothing(tried[name].task), **_training(0, 0, None), "refused": reason})
    if on_progress and refused:
        on_progress(sum(len(by_key[name]) for name in refused))
    names, all_jobs = list(jobs), list(jobs.values())
    fast = model._replace(params=models.unroll(model.params)) if jax.default_backend() == "cpu" else model
    for group in ttt.groups(all_jobs, texts.settings.ttt, ttt.devices_of(model)):
        if any(names[i] not in store for i in group.items):
            for i, outcome in zip(group.items, _run_group(fast, [all_jobs[i] for i in group.items], group, texts)):
                if names[i] not in store:
                    store.add(names[i], outcome)
        if on_progress:
            on_progress(sum(len(by_key[names[i]]) for i in group.items))
    return [store[key(trial)] for trial in trials]


def key(trial: Trial) -> str:
    """The name of a trial's outcome in a store: its task and its edit."""
    return f"{trial.task.id} {'-' if isinstance(trial.edit, Refused) else trial.edit.to_json()}"


def admitted(edit: EditConfig, task: Task, texts: Texts) -> EditConfig | Refused:
    """The edit as it is trained on this task; Refused if its learning rate or its steps are over the settings' limits.

    With the reference's rules any learning rate will do, and too many steps become no epochs.
    """
    limits, rules = texts.settings.ttt.limits, texts.settings.edits.rules
    if rules == "ours" and not 0 < edit.learning_rate <= limits.learning_rate:
        return Refused(f"a learning rate of {edit.learning_rate:g}; up to {limits.learning_rate:g} allowed")
    count = len(texts.sequences(task, edit.groups).tokens)
    found = limit_steps(edit, count, limits, rules)
    if isinstance(found, Refused) and rules == "reference" and count:
        return EditConfig(edit.groups, edit.strategy, edit.learning_rate, 0)
    return found


def _jobs(tried: dict[str, Trial], texts: Texts) -> tuple[dict[str, ttt.Job], dict[str, str]]:
    jobs, refused = {}, {}
    for name, (task, edit) in tried.items():
        edit = edit if isinstance(edit, Refused) else admitted(edit, task, texts)
        if isinstance(edit, Refused):
            refused[name] = edit.reason
        else:
            jobs[name] = ttt.Job(task, edit, texts.sequences(task, edit.groups))
    return jobs, refused


def _run_group(model: models.Model, jobs: Sequence[ttt.Job], group: ttt.Group, texts: Texts) -> list[Outcome]:
    settings = texts.settings
    trained = ttt.train(model, jobs, group, settings.ttt, texts.seed)
    nobody = Posed([], [], [], [])  # a diverged model would go on to the limit
    posed = [texts.queries(job.task) if ok else nobody for job, ok in zip(jobs, trained.finite)]
    answers = predict.answer_adapted(model, trained.adapters, posed, settings.prediction)
    found = []
    for job, asked, said, losses, ok in zip(jobs, posed, answers, trained.losses, trained.finite):
        outcome = predict.judge(job.task, asked, said, settings.prediction) if ok else predict.nothing(job.task)
        loss = float(losses[-1]) if len(losses) and np.isfinite(losses[-1]) else None
        training = _training(len(job.data.tokens), len(losses), loss, diverged=not ok)
        found.append({**outcome, **training, "refused": None})
    return found


def _training(sequences: int, steps: int, loss: float | None, diverged: bool = False) -> dict[str, Any]:
    return {"sequences": sequences, "steps": steps, "loss": loss, "diverged": diverged}


def ask(
    model: models.Model,
    tasks: Sequence[Task],
    texts: Texts,
    augmented: bool = True,
    store: Store | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """The unadapted model's outcome on every task: augmented prediction, or each test posed once as it stands.

    Answers that `store` already holds, by "task/query", are not asked for again. on_progress: called with the number of
    tasks that are answered. Raises ValueError for two tasks of one id.
    """
    check_ids(tasks)
    how = texts.settings.prediction
    posed = [texts.queries(task, augmented) for task in tasks]
    answers = predict.answer(model, posed, how, [task.id for task in tasks], store, on_progress)
    return [predict.judge(t, p, a, how, single=not augmented) for t, p, a in zip(tasks, posed, answers)]
