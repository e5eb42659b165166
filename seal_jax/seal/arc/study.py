"""One SEAL study on ARC: rounds of behaviour cloning beside what they are to be compared with, on held-out tasks."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from seal_jax import models
from seal_jax.data.arc import Task
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.runtime.logging import progress
from seal_jax.runtime.run import Run
from seal_jax.seal import policy as cloning
from seal_jax.seal import reward
from seal_jax.seal.arc import policy
from seal_jax.seal.arc.policy import Written
from seal_jax.seal.arc.predict import Outcome
from seal_jax.seal.arc.schema import STRATEGIES, EditConfig, Refused
from seal_jax.seal.arc.texts import Texts, check_ids
from seal_jax.seal.arc.trials import Trial, ask, run_trials

EVALUATION_SEED = 2_000
AGAIN = 1_000_000
"""Added to the seed of a round's edits for each earlier round that held any of its tasks."""
ORACLE = EditConfig(("basic", "size", "chain", "repeat"), STRATEGIES[1], 1e-4, 2)
"""The fixed configuration of the released test-time training, with which its tasks were found to be solvable."""

Evaluation = dict[str, Any]


def study(
    run: Run,
    model: models.Model,
    train: Sequence[Sequence[Task]],
    test: Sequence[Task],
    texts: Texts,
    oracle: EditConfig = ORACLE,
    controls: bool = True,
    export: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Train one round on each member of `train`, evaluate on `test`; returns the run's result.

    The result holds, each with "accuracy" (tasks solved, the mean over their edits), "cells" (share of right cells)
    and standard errors over tasks:
    "icl_single": no training, each test posed once; "icl": no training, augmented prediction;
    "round_0": test-time training by edits of the untrained policy; "round_1", ...: by those of the policy, and starting
    from its weights, after so many rounds; "oracle": by one given edit.
    With `controls` "random_configs": by valid edits drawn without a model; "round_1_first_model", ...: the edits of
    "round_1", ... train the untrained model, so the learner is that of "round_0" and only the edits are others.
    Also "differences" between them, paired by task, the reports of the rounds, and seconds by stage. A round that left
    the policy as it was has the evaluation of the round before. Rounds may hold the same tasks; their edits are then
    drawn with other seeds. Raises ValueError for tasks that are in a round and in `test`, for two tasks of one id in
    one of them, and for tasks whose prompts do not fit the context.
    """
    _check_disjoint(train, test)
    found: dict[str, Evaluation] = {
        "icl_single": _asked(run, "evaluation/icl_single", model, test, texts, augmented=False),
        "icl": _asked(run, "evaluation/icl", model, test, texts),
    }
    writings = [_evaluate(run, "round_0", model, model, test, texts, found)]
    fixed = [[Written("", oracle, [])] for _ in test]
    found["oracle"] = evaluate(run, "evaluation/oracle", model, test, fixed, texts)
    learner, reports = model, []
    for number, tasks in enumerate(train, start=1):
        before, shift = learner, AGAIN * _earlier(train, number - 1)
        learner, report = train_round(run, f"round_{number}", before, tasks, texts, texts.seed + shift)
        reports.append(report)
        if learner is before:
            found[f"round_{number}"] = found[f"round_{number - 1}"]
            writings.append(writings[-1])
        else:
            writings.append(_evaluate(run, f"round_{number}", learner, learner, test, texts, found))
    if export:
        models.save_pretrained(export, learner.config, learner.params, learner.tokenizer)
    if controls:
        drawn = policy.random_edits(test, texts, texts.settings.edits.tested, EVALUATION_SEED + texts.seed)
        given = [[Written("", edit, []) for edit in edits] for edits in drawn]
        found["random_configs"] = evaluate(run, "evaluation/random_configs", model, test, given, texts)
        found |= _on_the_first_model(run, model, writings, test, texts, found)
    return _result(run, found, reports, len(train))


def _on_the_first_model(
    run: Run,
    model: models.Model,
    writings: Sequence[list[list[Written]]],
    tasks: Sequence[Task],
    texts: Texts,
    found: dict[str, Evaluation],
) -> dict[str, Evaluation]:
    """The edits of each later policy train the untrained model; those of an unchanged policy have been tried."""
    name = "round_{}_first_model".format
    tried = {"round_0": found["round_0"]}
    for number in range(1, len(writings)):
        if writings[number] is writings[number - 1]:
            tried[name(number)] = list(tried.values())[-1]
        else:
            tried[name(number)] = evaluate(run, f"evaluation/{name(number)}", model, tasks, writings[number], texts)
    return tried


def train_round(
    run: Run, name: str, model: models.Model, tasks: Sequence[Task], texts: Texts, seed: int | None = None
) -> tuple[models.Model, dict[str, Any]]:
    """One round: write edits, try them, clone those that solved their task. Returns the new policy and a report.

    seed: of the draws of edits; the seed of `texts` unless given.

    With `select="gained"` tasks that the policy solves without training teach it nothing: any edit solves them. Where
    no edit is left to learn from, the policy stays as it is, and the report says so ("cloned": 0). Tasks whose answers
    are not known give no reward.
    """
    settings = texts.settings
    written = write(
        run, f"{name}/edits", model, tasks, texts, settings.edits.count, texts.seed if seed is None else seed
    )
    outcomes = _tried(run, f"{name}/trials", model, policy.trials(tasks, written), texts)
    by_task = _by_task(outcomes, written)
    rewards = [[float(o["correct"] is True) for o in row] for row in by_task]
    gained = rewards
    if settings.select == "gained":
        before = _asked(run, f"{name}/before", model, tasks, texts)["by_task"]["accuracy"]
        gained = policy.gained(rewards, before)
    rows = policy.cloning_rows(tasks, written, gained, texts)
    report = run.stage(f"{name}/report", lambda: _report(written, by_task, rewards, len(rows)))
    if not rows:
        return model, report

    def cloned() -> Any:
        adapter, losses = cloning.improve(
            model, rows, settings.policy, texts.seed, Checkpointer(run.checkpoints / name)
        )
        for step, loss in enumerate(losses):
            run.log({"stage": f"{name}/policy", "step": step, "loss": loss}, id=f"{name}/policy/{step}")
        return adapter

    adapter = run.stage(f"{name}/policy", cloned, kind="tree")
    run.drop_checkpoints(name)
    return cloning.merge(model, adapter), report


def write(
    run: Run, name: str, model: models.Model, tasks: Sequence[Task], texts: Texts, count: int, seed: int
) -> list[list[Written]]:
    """`count` edits of each task, kept in the run as stage `name`."""

    def compute() -> list[list[dict[str, Any]]]:
        with progress(name, len(tasks) * count) as advance:
            found = policy.write_edits(model, tasks, texts, count, seed, run.items(name), advance)
        return [[{"text": one.text, "refused": one.refused} for one in edits] for edits in found]

    return [
        [Written(one["text"], policy.read(one["text"], task, texts), one["refused"]) for one in edits]
        for task, edits in zip(tasks, run.stage(name, compute))
    ]


def evaluate(
    run: Run,
    name: str,
    model: models.Model,
    tasks: Sequence[Task],
    written: Sequence[Sequence[Written]],
    texts: Texts,
) -> Evaluation:
    """What comes of the edits of each task: see `summary`."""
    outcomes = _tried(run, name, model, policy.trials(tasks, written), texts)
    return summary(_by_task(outcomes, written))


def summary(by_task: Sequence[Sequence[Outcome]]) -> Evaluation:
    """Means over tasks of the means over their edits, standard errors over tasks, and counts.

    A task without known answers does not count, an edit that is none counts as one that solves nothing. "by_task"
    holds the values that paired comparisons need, None for tasks that do not count.
    """
    known = [row if all(o["correct"] is not None for o in row) else None for row in by_task]
    by = {
        field: [None if row is None else float(np.mean([o[key] for o in row])) for row in known]
        for field, key in (("accuracy", "correct"), ("cells", "cells"))
    }
    every = [o for row in by_task for o in row]
    count = lambda field: sum(bool(o.get(field)) for o in every)  # noqa: E731
    return {
        "accuracy": _mean(by["accuracy"]),
        "stderr": _stderr(by["accuracy"]),
        "cells": _mean(by["cells"]),
        "cells_stderr": _stderr(by["cells"]),
        "tasks": sum(row is not None for row in known),
        "edits": len(every),
        "refused": count("refused"),
        "diverged": count("diverged"),
        "by_task": by,
    }


def compare(a: Evaluation, b: Evaluation, field: str = "accuracy") -> dict[str, float]:
    """Mean difference a - b over the tasks that count in both, and its standard error over tasks."""
    pairs = zip(a["by_task"][field], b["by_task"][field], strict=True)
    kept = [(x, y) for x, y in pairs if x is not None and y is not None]
    if not kept:
        return {"difference": float("nan"), "stderr": float("nan")}
    difference, error = reward.paired([x for x, _ in kept], [y for _, y in kept], range(len(kept)))
    return {"difference": difference, "stderr": error}


def _evaluate(
    run: Run,
    name: str,
    model: models.Model,
    writer: models.Model,
    tasks: Sequence[Task],
    texts: Texts,
    found: dict[str, Evaluation],
) -> list[list[Written]]:
    tested = texts.settings.edits.tested
    written = write(run, f"evaluation/{name}-edits", writer, tasks, texts, tested, EVALUATION_SEED + texts.seed)
    found[name] = evaluate(run, f"evaluation/{name}", model, tasks, written, texts)
    found[name]["written"] = policy.refusals(written)
    return written


def _tried(run: Run, name: str, model: models.Model, trials: Sequence[Trial], texts: Texts) -> list[Outcome]:
    def compute() -> list[Outcome]:
        with progress(name, len(trials)) as advance:
            return run_trials(model, trials, texts, run.items(name), advance)

    return run.stage(name, compute)


def _asked(
    run: Run, name: str, model: models.Model, tasks: Sequence[Task], texts: Texts, augmented: bool = True
) -> Evaluation:
    def compute() -> list[Outcome]:
        with progress(name, len(tasks)) as advance:
            return ask(model, tasks, texts, augmented, run.items(name), advance)

    return summary([[outcome] for outcome in run.stage(name, compute)])


def _by_task(outcomes: Sequence[Outcome], written: Sequence[Sequence[Written]]) -> list[list[Outcome]]:
    each = iter(outcomes)
    return [[next(each) for _ in edits] for edits in written]


def _report(
    written: Sequence[Sequence[Written]],
    by_task: Sequence[Sequence[Outcome]],
    rewards: Sequence[Sequence[float]],
    cloned: int,
) -> dict[str, Any]:
    """What was drawn, refused and accepted in a round, and what the edits that were accepted have in common."""
    every = [o for row in by_task for o in row]
    distinct = {(i, one.edit) for i, row in enumerate(written) for one in row if not isinstance(one.edit, Refused)}
    cells = [o["cells"] for o in every if o["cells"] is not None]
    return {
        **policy.refusals(written),
        "distinct": len(distinct),
        "diverged": sum(o["diverged"] for o in every),
        "reward": float(np.mean([r for row in rewards for r in row])),
        "cells": float(np.mean(cells)) if cells else None,
        "tasks": len(by_task),
        "tasks_solved": sum(any(row) for row in rewards),
        "tasks_with_a_choice": sum(0 < sum(row) < len(row) for row in rewards),
        "cloned": cloned,
    }


def _earlier(rounds: Sequence[Sequence[Task]], number: int) -> int:
    """How many rounds before `rounds[number]` hold any of its tasks."""
    return sum(not set(rounds[number]).isdisjoint(before) for before in rounds[:number])


def _check_disjoint(train: Sequence[Sequence[Task]], test: Sequence[Task]) -> None:
    held_out = {task.demos: task.id for task in test}
    if len(held_out) < len(test):
        raise ValueError("the test tasks are not all different")
    for tasks in (test, *train):
        check_ids(tasks)
    for number, tasks in enumerate(train, start=1):
        both = [task.id for task in tasks if task.demos in held_out]
        if both:
            raise ValueError(f"task {both[0]} is in round {number} and in the test set; split them")


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _stderr(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return reward.sample_std(known) / len(known) ** 0.5 if len(known) > 1 else float("nan")


def _result(run: Run, found: dict[str, Evaluation], reports: Sequence[dict[str, Any]], rounds: int) -> dict[str, Any]:
    last = f"round_{rounds}"
    pairs = [("round_0", "icl"), ("round_0", "random_configs"), ("oracle", "round_0"), ("oracle", last)]
    pairs += [(last, "random_configs"), ("icl", "icl_single")]
    for number in range(1, rounds + 1):
        name = f"round_{number}"
        pairs += [(name, "round_0"), (f"{name}_first_model", "round_0"), (name, f"{name}_first_model")]
        pairs += [(f"{name}_first_model", "random_configs")]
    return {
        **{name: {k: v for k, v in one.items() if k != "by_task"} for name, one in found.items()},
        "differences": {
            f"{a} - {b}": {field: compare(found[a], found[b], field) for field in ("accuracy", "cells")}
            for a, b in pairs
            if a in found and b in found and a != b
        },
        "rounds": list(reports),
        "seconds": {name: round(seconds, 1) for name, seconds in run.seconds.items()},
    }
