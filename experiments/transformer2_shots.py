"""Few-shot mixtures of Transformer-squared on further draws of the ten shots.

Claim     a mixture found on ten shots of the unseen family is above the best expert whichever ten are drawn, with one
          weight for each expert; with weights for each layer it is so on average
Command   python -m experiments.transformer2_shots --study runs/transformer2
Hardware  two CPU cores; resumes from --out, with more --draws too; experts are read from the study's run, or trained
Expected  over the best expert of 49.3 %: CEM 8.8 ± 0.5, by layer 7.7 ± 0.7, random 8.3 ± 0.5; in 30, 27, 30 of 30 draws
Last run  2026-11-21, 8 minutes beside other work; docs/transformer2.md
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from experiments import transformer2
from seal_jax import models
from seal_jax.evaluation.matrix import known_error
from seal_jax.runtime import Run
from seal_jax.runtime.logging import table
from seal_jax.transformer2 import demo, skills
from seal_jax.transformer2.study_mixtures import adapted

SEARCHES = {name: demo.SEARCHES[name] for name in ("cem", "cem_per_layer", "random")}
LORA = "lora_reward_sums"  # the study's best LoRA on the unseen family


@dataclasses.dataclass(frozen=True)
class Arguments:
    """study: where `experiments.transformer2` ran; draws: of the shots, for each seed, beside the study's own."""

    out: pathlib.Path = pathlib.Path("runs/transformer2_shots")
    study: pathlib.Path = pathlib.Path("runs/transformer2")
    draws: int = 10
    restart: bool = False


def main(args: Arguments) -> dict[str, Any]:
    """Write result.json (numbers by name, seed and draw), print both tables. ValueError without a further draw."""
    if args.draws < 1:
        raise ValueError(f"--draws {args.draws}: use 1 or more")
    study, searched = transformer2.Arguments(out=args.study), {"study": args.study, "searches": SEARCHES}
    settings = transformer2.settings_of(study)
    with transformer2.opened(study, settings) as studied, Run(args.out, searched, args.restart) as run:
        parts = demo.Parts(studied, models.from_pretrained(skills.CHECKPOINT), settings)
        found = by_draw(parts, run, args.draws)
        accuracy = {n: [[np.mean(x["verdicts"][n]) for x in own] for own in found] for n in found[0][0]["verdicts"]}
        weights = {n: [[x["searches"][n]["weights"] for x in own] for own in found] for n in SEARCHES}
        result = run.finish({"accuracy": accuracy, "weights": weights, "seconds": run.seconds})
    table(rows(accuracy, weights, list(parts.tasks), 1), f"{args.draws} further draws of each seed")
    table(rows(accuracy, weights, list(parts.tasks)), "The study's own draw included")
    return result


def by_draw(parts: demo.Parts, run: Run, draws: int) -> list[list[dict[str, Any]]]:
    """What `adapted` returns, by seed and draw: the study's own, numbered by its seed, then ones of further numbers."""
    arms, seeds = parts.settings.arms, parts.settings.seeds
    experts, lora = (parts.trained(arm, arms[arm]) for arm in ("svf_reward", "lora_reward"))
    factors = parts.factors_of(arms["svf_reward"]) or {}

    def one(seed: int, draw: int) -> dict[str, Any]:
        study, name = parts.study(seed), "unseen"
        if draw:
            study, name = study._replace(run=run, seed=seed + draw * (max(seeds) + 1)), f"experts_{seed}"
        own, also = {n: x.adapter for n, x in experts[seed].items()}, {LORA: lora[seed]["sums"].adapter}
        return adapted(study, name, parts.unseen, own, factors, SEARCHES, parts.settings.shots, also)

    return [[one(seed, draw) for draw in range(draws + 1)] for seed in seeds]


def rows(accuracy: Any, weights: Any, experts: list[str], first: int = 0) -> list[dict[str, Any]]:
    """Of draws from `first` on: means in percent with standard errors over draws, by seed, and the ends of the range.

    over: differences within draws from the best of `experts`, the LoRA and CEM, and how many are above zero; shares:
    of each expert in the sum of weights, the ends of their range.
    """
    values, told = {n: 100 * np.array(x)[:, first:] for n, x in accuracy.items()}, []
    beside = (max(experts, key=lambda n: values[n].mean()), LORA, "cem")
    cell = lambda x, sign="": f"{x.mean():{sign}.1f} ± {known_error(x.ravel()):.1f}"  # noqa: E731
    for name, x in values.items():
        row = {"condition": name, "pairs": cell(x), "by seed": ", ".join(f"{m:.1f}" for m in x.mean(1))}
        row["range"] = f"{x.min():.1f} to {x.max():.1f}"
        over = {f"over {o}": x - values[o] for o in beside if o != name}
        row |= {o: f"{cell(gain, '+')}, {(gain > 0).sum()} of {gain.size}" for o, gain in over.items()}
        if name in weights:
            w = np.array(weights[name])[:, first:].reshape(x.size, -1).T
            shares = w / np.maximum(w.sum(0), 1e-9)
            row["shares"] = ", ".join(f"{e.min():.2f} to {e.max():.2f}" for e in shares)
        told.append(row)
    return told


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
