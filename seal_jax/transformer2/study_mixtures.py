"""The second half of a study: which expert, or which mixture of them, answers what; and experts on another base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax.adapters import Adapter
from seal_jax.evaluation.matrix import known_error
from seal_jax.transformer2.classify import OTHERS, Classifier
from seal_jax.transformer2.dispatch import answer, dispatch
from seal_jax.transformer2.expert_bank import ExpertBank
from seal_jax.transformer2.experts import Expert
from seal_jax.transformer2.few_shot import FewShot, few_shot
from seal_jax.transformer2.scores import verdicts
from seal_jax.transformer2.study import Study, over_seeds
from seal_jax.transformer2.task_sets import draw_shots
from seal_jax.transformer2.tasks import Task


def dispatched(
    study: Study,
    name: str,
    bank: ExpertBank,
    tasks: Sequence[Task],
    classifier: Classifier,
    expert: Expert | None = None,
    factors: Adapter | None = None,
) -> dict[str, Any]:
    """Two-pass inference on the test splits of tasks: stage `seed_N/NAME`.

    expert: who sorts, the base without one. Returns by task `labels`, `verdicts`, `known` (verdicts where the expert of
    the task's own name answers, the base if it has none), and the seconds of the `passes`.
    """

    def compute() -> dict[str, Any]:
        found = dispatch(study.model, bank, tasks, classifier, expert=expert, factors=factors, rows=128)
        graded = {task: [a.correct for a in attempts] for task, attempts in found.attempts.items()}
        return {"labels": found.labels, "verdicts": graded, "passes": [found.first, found.second]}

    return study.run.stage(f"seed_{study.seed}/{name}", compute)


def known_experts(study: Study, name: str, bank: ExpertBank, tasks: Sequence[Task]) -> dict[str, list[bool | None]]:
    """Verdicts by task where each is answered by the expert of its name, and by the base if it has none."""

    def compute() -> dict[str, Any]:
        own = {t.name: t.name if t.name in bank.names else None for t in tasks}
        return {
            t.name: [a.correct for a in answer(study.model, bank, t, t.test, [own[t.name]] * len(t.test), rows=128)]
            for t in tasks
        }

    return study.run.stage(f"seed_{study.seed}/{name}", compute)


def adapted(
    study: Study,
    name: str,
    task: Task,
    experts: Mapping[str, Adapter],
    factors: Adapter,
    searches: Mapping[str, FewShot],
    shots: int,
    also: Mapping[str, Adapter] | None = None,
    pool: Mapping[str, Adapter] | None = None,
) -> dict[str, Any]:
    """Few-shot adaptation to a task no expert was trained for: stages `seed_N/NAME/...`.

    `shots` of the test problems, drawn by seed, choose each mixture, and everything is scored on the rest of them, the
    base too. searches: settings by name; also: adapters that are scored beside (LoRA experts); pool: what is mixed, if
    not `experts`. Returns the ids of the `problems` scored, `verdicts` by name ("base", experts, searches, `also`), and
    by search `weights` (means over columns), `fitness` on the shots and `history`.
    """
    chosen, rest = draw_shots(task, "test", shots, study.seed)
    stage = f"seed_{study.seed}/{name}"
    score = lambda at, adapter: study.run.stage(  # noqa: E731
        f"{stage}/{at}", lambda: verdicts(study.model, task, rest, adapter, factors, rows=128)
    )
    found: dict[str, Any] = {
        "problems": [p.id for p in rest],
        "verdicts": {"base": score("base", None)},
        "searches": {},
    }
    for at, adapter in {**experts, **(also or {})}.items():
        found["verdicts"][at] = score(at, adapter)
    for at, settings in searches.items():

        def search(at: str = at, settings: FewShot = settings) -> dict[str, Any]:
            items = study.run.items(f"{stage}/{at}/search")
            key = jax.random.key(study.seed)
            got = few_shot(
                study.model, list((pool or experts).values()), factors, task, chosen, settings, key, items=items
            )
            z = {path: entry["z"].tolist() for path, entry in got.adapter.items()}
            return {"weights": got.alpha.mean(1).tolist(), "fitness": got.fitness, "history": got.history, "z": z}

        got = study.run.stage(f"{stage}/{at}/search", search)
        mixture = {path: {"z": jnp.asarray(z, jnp.float32)} for path, z in got.pop("z").items()}
        found["verdicts"][at] = score(at, mixture)
        found["searches"][at] = got
    return found


def by_name(by_seed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Results of `adapted` by condition: accuracies and paired differences from the base of each seed's own rows.

    Problems are paired with themselves: each counts by the mean over the seeds of which it was no shot, and these
    errors take the seeds' shots as they are. `seeds`, `difference_seeds`: accuracy and difference by seed, with the
    standard errors of their means over seeds, that is over draws of shots too, `seeds_stderr` and
    `difference_seeds_stderr` (None for one seed); of searches `weights` and `fitness`, by seed, and `over`: what they
    gain over every other condition, as (difference, paired standard error).
    """
    table: dict[str, Any] = {}
    for name in by_seed[0]["verdicts"]:
        table[name] = over_seeds([by_problem(by_seed, name)], by_problem(by_seed, "base"))
        table[name] |= _over_draws(by_seed, name)
        if name in by_seed[0]["searches"]:
            own, others = by_problem(by_seed, name), [n for n in by_seed[0]["verdicts"] if n != name]
            pairs = {n: over_seeds([own], by_problem(by_seed, n)) for n in others}
            table[name]["over"] = {n: (x["difference"], x["difference_stderr"]) for n, x in pairs.items()}
            table[name]["weights"] = [one["searches"][name]["weights"] for one in by_seed]
            table[name]["fitness"] = [one["searches"][name]["fitness"] for one in by_seed]
    return table


def _over_draws(by_seed: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    own, base = ([float(np.mean(one["verdicts"][n])) for one in by_seed] for n in (name, "base"))
    gains = [a - b for a, b in zip(own, base)]
    error = lambda x: known_error(x) if len(x) > 1 else None  # noqa: E731
    return {
        "seeds": own,
        "seeds_stderr": error(own),
        "difference_seeds": gains,
        "difference_seeds_stderr": error(gains),
    }


def by_problem(by_seed: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """The mean verdict on each problem that any seed scored, in order of the ids."""
    found: dict[str, list[float]] = {}
    for one in by_seed:
        for problem, verdict in zip(one["problems"], one["verdicts"][name]):
            found.setdefault(problem, []).append(float(verdict))
    return [sum(found[problem]) / len(found[problem]) for problem in sorted(found)]


def sorting_accuracy(labels: Mapping[str, Sequence[str]], names: Sequence[str]) -> float:
    """Share of problems that came under their own task's label, or `others` where the task is none of `names`."""
    right = [label == (task if task in names else OTHERS) for task, own in labels.items() for label in own]
    return sum(right) / len(right)
