"""Transformer-squared on the embedded skills world: the settings, and the study of `experiments/transformer2.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from seal_jax import adapters, models
from seal_jax.adapters import Adapter
from seal_jax.adapters.scales import z_of
from seal_jax.data.worlds import skills as world
from seal_jax.runtime import Run
from seal_jax.transformer2 import reinforce, skills, supervised
from seal_jax.transformer2.base_fingerprint import base_fingerprint
from seal_jax.transformer2.classification import classification_task
from seal_jax.transformer2.expert_bank import ExpertBank, expert_bank
from seal_jax.transformer2.experts import Expert, make_expert
from seal_jax.transformer2.few_shot import FewShot
from seal_jax.transformer2.study import Arm, RewardInLayers, Study, base_verdicts, over_seeds, parameters, train
from seal_jax.transformer2.study_mixtures import adapted, by_name, dispatched, known_experts, sorting_accuracy
from seal_jax.transformer2.study_transfer import transferred
from seal_jax.transformer2.tasks import Task
from seal_jax.transformer2.train import Trained

# Chosen on the validation splits with seed 0; the released values are lr 2e-3 and 256 answers a step.
REWARD = reinforce.Settings(
    iterations=80, batch_size=64, learning_rate=1e-1, eval_every=20, validate_on=128, rows=128, micro_batch=64
)
SOLUTIONS = supervised.Settings(
    iterations=80, batch_size=64, learning_rate=1e-1, eval_every=20, validate_on=128, rows=128, micro_batch=64
)
IN_LAYERS = {field.name: getattr(REWARD, field.name) for field in dataclasses.fields(REWARD)}
LORA, LORA_RATES = ("q_proj", "v_proj"), (5e-4, 2e-3, 8e-3)
ARMS: dict[str, Arm] = {
    "svf_reward": Arm(REWARD),
    "svf_solutions": Arm(SOLUTIONS),
    "lora_reward": Arm(REWARD, "lora", LORA, rates=LORA_RATES),
    "lora_solutions": Arm(SOLUTIONS, "lora", LORA, rates=LORA_RATES),
}
ABLATIONS: dict[str, Arm] = {
    "svf_last_layer": Arm(RewardInLayers(**IN_LAYERS, layers=(2,))),
    "svf_last_two_layers": Arm(RewardInLayers(**IN_LAYERS, layers=(1, 2))),
    "svf_attention": Arm(REWARD, targets=("attention",)),
    "svf_all": Arm(REWARD, targets=("all",)),
    # As many numbers as "svf_attention", and LoRA on the targets of "svf_reward": parameters and targets told apart.
    "lora_rank_1": Arm(REWARD, "lora", LORA, rank=1, rates=LORA_RATES),
    "lora_mlp_rank_1": Arm(REWARD, "lora", ("mlp",), rank=1, rates=LORA_RATES),
}
SHOTS = 10
SEARCHES: dict[str, FewShot] = {
    "cem": FewShot(generations=8),
    "cem_per_layer": FewShot(generations=8, per="layer"),
    "cem_raw": FewShot(generations=8, mix="raw"),
    "random": FewShot(search="random", generations=8),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The whole study as data: what a run compares when it is resumed. Numbers of problems are those of each task."""

    seeds: tuple[int, ...] = (0, 1, 2)
    arms: Mapping[str, Arm] = dataclasses.field(default_factory=lambda: dict(ARMS))
    ablations: Mapping[str, Arm] = dataclasses.field(default_factory=lambda: dict(ABLATIONS))
    searches: Mapping[str, FewShot] = dataclasses.field(default_factory=lambda: dict(SEARCHES))
    train: int = skills.TRAIN
    validation: int = skills.VALIDATION
    test: int = skills.TEST
    shots: int = SHOTS


class Parts:
    """The study of one run: what its parts share, each computed once and kept in the run."""

    def __init__(self, run: Run, model: models.Model, settings: Settings) -> None:
        self.run, self.model, self.settings = run, model, settings
        counts = (settings.train, settings.validation, settings.test)
        self.tasks = skills.tasks(*counts)
        self.unseen, self.others = (skills.task(name, *counts) for name in (world.UNSEEN, world.OTHERS))
        every = {**self.tasks, self.unseen.name: self.unseen, self.others.name: self.others}
        self.base: dict[str, list[bool]] = base_verdicts(run, model, every)
        self.factors: dict[tuple[str, ...], Adapter] = {}
        self.fingerprint = base_fingerprint(model.params)

    def study(self, seed: int) -> Study:
        """What functions of `study` are given, of a seed."""
        return Study(self.run, self.model, self.tasks, seed)

    def factors_of(self, arm: Arm) -> Adapter | None:
        """The factors of an arm's targets, made once."""
        if arm.kind == "lora":
            return None
        if arm.targets not in self.factors:
            self.factors[arm.targets] = adapters.svf.factor(self.model.params, arm.targets)
        return self.factors[arm.targets]

    def trained(self, name: str, arm: Arm) -> dict[int, dict[str, Trained]]:
        """The experts of an arm, by seed and task."""
        return {seed: train(self.study(seed), name, arm, self.factors_of(arm)) for seed in self.settings.seeds}


def skills_study(
    run: Run,
    model: models.Model,
    settings: Settings = Settings(),
    bases: Mapping[str, Callable[[], models.Model]] | None = None,
) -> dict[str, Any]:
    """Everything, in an order in which the parts that others need come first; returns the run's result.

    `base`: by task; `methods`: by arm and task, `study.over_seeds` against the base, with `parameters`, `updates` of
    the best; `dispatch`, `unseen`, `transfer`: see the functions of these names; `figures`: what they are drawn from.
    bases: other base models by name, made when their turn comes.
    """
    parts = Parts(run, model, settings)
    experts = {name: parts.trained(name, arm) for name, arm in settings.arms.items()}
    first = next(iter(settings.arms))
    result: dict[str, Any] = {
        "base": {name: over_seeds([v], v) for name, v in parts.base.items()},
        "methods": {name: _method(parts, arm, experts[name]) for name, arm in settings.arms.items()},
        "unseen": _unseen(parts, experts),
        "dispatch": _dispatch(parts, settings.arms[first], experts[first]),
    }
    ablations = {name: parts.trained(name, arm) for name, arm in settings.ablations.items()}
    result["methods"] |= {name: _method(parts, arm, ablations[name]) for name, arm in settings.ablations.items()}
    result["transfer"] = {name: _transfer(parts, experts[first], name, make()) for name, make in (bases or {}).items()}
    result["figures"] = _figures(parts, experts, first)
    return result


def _method(parts: Parts, arm: Arm, found: Mapping[int, Mapping[str, Trained]]) -> dict[str, Any]:
    one = next(iter(next(iter(found.values())).values()))
    table: dict[str, Any] = {"parameters": parameters(one.adapter, arm)}
    for name in parts.tasks:
        scored = over_seeds([found[seed][name].verdicts for seed in found], parts.base[name])
        table[name] = {**scored, "updates": [found[seed][name].best["iteration"] for seed in found]}
    return table


def _experts(parts: Parts, found: Mapping[str, Trained], seed: int) -> dict[str, Expert]:
    return {
        name: make_expert(
            one.adapter, parts.model.params, task=name, base=parts.fingerprint, seed=seed, score=one.best["accuracy"]
        )
        for name, one in found.items()
    }


def _bank(parts: Parts, arm: Arm, found: Mapping[str, Trained], seed: int) -> ExpertBank:
    experts = _experts(parts, found, seed)
    return expert_bank(experts, parts.model.params, factors=parts.factors_of(arm))


def _dispatch(parts: Parts, arm: Arm, experts: Mapping[int, Mapping[str, Trained]]) -> dict[str, Any]:
    """Two-pass inference over all tasks, the unseen one and others included: verdicts of each strategy and the base.

    By strategy, and by task of it: `over_seeds` against the base; `sorted_rightly` by seed; `seconds` of the passes.
    """
    asked = [*parts.tasks.values(), parts.others, parts.unseen]
    sorter, factors = skills.classifier(), parts.factors_of(arm)
    labelled = classification_task(sorter, parts.tasks, parts.model.tokenizer, others=(parts.others,))
    by: dict[str, list[Any]] = {"prompt": [], "classifier": [], "known": []}
    for seed, found in experts.items():
        study, bank = parts.study(seed), _bank(parts, arm, found, seed)
        sorting = train(study._replace(tasks={"classify": labelled}), "classifier", arm, factors)["classify"]
        expert = make_expert(sorting.adapter, parts.model.params, task="classify", seed=seed)
        by["prompt"].append(dispatched(study, "dispatch/prompt", bank, asked, sorter))
        by["classifier"].append(dispatched(study, "dispatch/classifier", bank, asked, sorter, expert, factors))
        by["known"].append({"verdicts": known_experts(study, "dispatch/known", bank, asked)})
    return {name: _strategy(parts, asked, found) for name, found in by.items()}


def _strategy(parts: Parts, asked: Sequence[Task], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = [task.name for task in asked]
    together = [[v for name in names for v in one["verdicts"][name]] for one in found]
    table: dict[str, Any] = {"all": over_seeds(together, [v for name in names for v in parts.base[name]])}
    table |= {name: over_seeds([one["verdicts"][name] for one in found], parts.base[name]) for name in names}
    if "labels" in found[0]:
        seen = [{n: one["labels"][n] for n in names if n != world.UNSEEN} for one in found]
        table["sorted_rightly"] = [sorting_accuracy(labels, list(parts.tasks)) for labels in seen]
        table["seconds"] = [one["passes"] for one in found]
    return table


def _unseen(parts: Parts, experts: Mapping[str, Mapping[int, Mapping[str, Trained]]]) -> dict[str, Any]:
    """Few-shot adaptation to the unseen task by seed, each scored on the problems that are not its shots."""
    first, *rest = parts.settings.arms
    lora = [name for name in rest if parts.settings.arms[name].kind == "lora"]
    factors = parts.factors_of(parts.settings.arms[first]) or {}
    by_seed = []
    for seed in parts.settings.seeds:
        own = {name: one.adapter for name, one in experts[first][seed].items()}
        also = {f"{arm}_{name}": one.adapter for arm in lora for name, one in experts[arm][seed].items()}
        by_seed.append(
            adapted(
                parts.study(seed),
                "unseen",
                parts.unseen,
                own,
                factors,
                parts.settings.searches,
                parts.settings.shots,
                also,
            )
        )
    return by_name(by_seed)


def _transfer(
    parts: Parts, found: Mapping[int, Mapping[str, Trained]], name: str, model: models.Model
) -> dict[str, Any]:
    """What the experts are worth on another base: see `study_transfer.transferred`."""
    studies = {seed: parts.study(seed)._replace(model=model) for seed in found}
    experts = {seed: _experts(parts, own, seed) for seed, own in found.items()}
    return transferred(studies, experts, f"transfer/{name}", SEARCHES["cem"], parts.settings.shots)


def _figures(parts: Parts, experts: Mapping[str, Mapping[int, Mapping[str, Trained]]], first: str) -> dict[str, Any]:
    curve = lambda one: [(row["iteration"], row["accuracy"]) for row in one.validations]  # noqa: E731
    curves = {
        name: {arm: [curve(by_seed[seed][name]) for seed in by_seed] for arm, by_seed in experts.items()}
        for name in parts.tasks
    }
    own = experts[first][parts.settings.seeds[0]]
    z = {
        name: jax.tree.map(lambda x: x.tolist(), {p: z_of(e) for p, e in one.adapter.items()})
        for name, one in own.items()
    }
    return {"curves": curves, "z": z}


def tables(result: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """A result as tables by title: accuracies in percent, differences with their paired standard errors."""
    names = [name for name in world.TRAINED if name in result["base"]]
    methods = [{"method": "base", **{n: _cell(result["base"][n], False) for n in names}}]
    for name, found in result["methods"].items():
        methods.append({"method": name, "parameters": found["parameters"], **{n: _cell(found[n]) for n in names}})
    unseen = [{"condition": n, "accuracy": _cell(each, n != "base")} for n, each in result["unseen"].items()]
    scored = (*names, world.OTHERS, world.UNSEEN, "all")
    two = [{"strategy": n, **{k: _cell(each[k]) for k in scored}} for n, each in result["dispatch"].items()]
    moved = [
        {"model": base, "family": family, **{k: _cell(x, k not in ("base", "few_shot_base")) for k, x in each.items()}}
        for base, families in result["transfer"].items()
        for family, each in families.items()
    ]
    return {"Trained families": methods, "The unseen family": unseen, "Two passes": two, "Another base": moved}


def _cell(found: Mapping[str, Any], paired: bool = True) -> str:
    text = f"{100 * found['accuracy']:.1f}"
    return f"{text} ({100 * found['difference']:+.1f} ± {100 * found['difference_stderr']:.1f})" if paired else text
