"""Experts on another base model than the one they were trained on, the paper's experiment across models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from seal_jax import adapters
from seal_jax.adapters import Adapter
from seal_jax.transformer2.experts import Expert, check_base
from seal_jax.transformer2.few_shot import FewShot
from seal_jax.transformer2.scores import verdicts
from seal_jax.transformer2.study import Study, over_seeds
from seal_jax.transformer2.study_mixtures import adapted, by_problem


def transferred(
    studies: Mapping[int, Study], experts: Mapping[int, Mapping[str, Expert]], name: str, search: FewShot, shots: int
) -> dict[str, Any]:
    """What experts are worth on the base of `studies`: stages `seed_N/NAME/...`, by seed, by task of the studies.

    experts: by seed and task, trained on another base. By task and condition `study.over_seeds` against this base:
    "ordered", the expert of the task as it is; "shuffled", with the scales of every matrix in another order; and on the
    problems that are not shots, "few_shot_base" and "few_shot", a mixture of all experts found by `search` on `shots`
    problems. Raises ExpertError for experts that do not fit.
    """
    one = next(iter(studies.values()))
    for expert in (e for own in experts.values() for e in own.values()):
        check_base(expert, one.model.params, expert.meta.task, allow_transfer=True)
    paths = next(iter(next(iter(experts.values())).values())).adapter
    factors = adapters.svf.factor(one.model.params, tuple(dict.fromkeys(path.split("/")[-2] for path in paths)))
    return {task: _task(studies, experts, factors, task, name, search, shots) for task in one.tasks}


def _task(
    studies: Mapping[int, Study],
    experts: Mapping[int, Mapping[str, Expert]],
    factors: Adapter,
    task: str,
    name: str,
    search: FewShot,
    shots: int,
) -> dict[str, Any]:
    found: dict[str, list[Any]] = {"base": [], "ordered": [], "shuffled": []}
    mixtures = []
    for number, (seed, study) in enumerate(studies.items()):
        own = experts[seed][task].adapter
        tried = {"base": None, "ordered": own, "shuffled": shuffled(jax.random.key(seed), own)}
        for at, adapter in tried.items():
            if at == "base" and number:  # of no seed
                found[at].append(found[at][0])
                continue

            def score(study: Study = study, adapter: Adapter | None = adapter) -> list[bool | None]:
                asked = study.tasks[task]
                return verdicts(study.model, asked, asked.test, adapter, factors, rows=128)

            found[at].append(study.run.stage(f"seed_{seed}/{name}/{task}/{at}", score))
        every = {other: expert.adapter for other, expert in experts[seed].items()}
        stage = f"{name}/{task}/few_shot"
        mixtures.append(adapted(study, stage, study.tasks[task], {}, factors, {"cem": search}, shots, pool=every))
    table = {at: over_seeds(by_seed, found["base"][0]) for at, by_seed in found.items()}
    for at, condition in (("few_shot_base", "base"), ("few_shot", "cem")):
        table[at] = over_seeds([by_problem(mixtures, condition)], by_problem(mixtures, "base"))
    return table


def shuffled(key: jax.Array, expert: Adapter) -> Adapter:
    """The expert with the scales of every matrix in another order: what a transfer is to be compared with."""
    keys = jax.random.split(key, len(expert))
    permute = jax.vmap(jax.random.permutation)
    return {
        path: {name: permute(jax.random.split(k, len(x)), x) for name, x in entry.items()}
        for k, (path, entry) in zip(keys, expert.items())
    }
