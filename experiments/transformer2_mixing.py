"""Side figures of Transformer-squared: searches with and without a floor, and raw mixing with weights set by hand.

Claim     CEM often stops short of an optimum that it reaches with a floor under its spread; raw mixing of the study's
          experts answers nothing with the weights tried here, where mixing z answers
Command   python -m experiments.transformer2_mixing --study runs/transformer2
Hardware  two CPU cores; the study's experts are read from its run, and trained there if they are not in it
Expected  116 of 200 searches come near as released, 200 with a floor, 195 with an EMA; right sums raw 0, z 99 to 128
Last run  2026-11-21; docs/transformer2.md
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments import transformer2
from seal_jax import models
from seal_jax.adapters import Adapter
from seal_jax.adapters.scales import scales
from seal_jax.runtime.logging import table
from seal_jax.transformer2 import cem, demo, skills
from seal_jax.transformer2.mixing import mix_experts
from seal_jax.transformer2.scores import verdicts

SPREADS = {"as released": cem.Settings(), "floor 0.01": cem.Settings(std_floor=0.01), "EMA 0.5": cem.Settings(ema=0.5)}
BY_HAND = {"sums alone": (1.0, 0.0, 0.0), "equal": (1 / 3, 1 / 3, 1 / 3), "half sums": (0.5, 0.25, 0.25)}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """study: where `experiments.transformer2` ran; problems: of sums; near: of the optimum, in each of the numbers."""

    study: pathlib.Path = pathlib.Path("runs/transformer2")
    problems: int = 128
    searches: int = 200
    generations: int = 40
    near: float = 0.01


def main(args: Arguments) -> None:
    """Print both tables."""
    table(floors(args), f"Searches of {args.searches} that came within {args.near:g}")
    table(by_hand(args), f"Mixtures set by hand, {args.problems} sums")


def floors(args: Arguments) -> list[dict[str, Any]]:
    """How many searches for six numbers in [0, 1] find the place of their quadratic's maximum."""

    def far(key: jax.Array, settings: cem.Settings) -> jax.Array:
        aim = jax.random.uniform(jax.random.fold_in(key, 1), (6,))
        state = cem.init(jnp.full(6, 0.5), settings)
        for _ in range(args.generations):
            candidates = cem.ask(state, key, settings)
            fitness = -jnp.square(candidates - aim).sum(-1)
            state = cem.tell(state, candidates, fitness, jnp.zeros_like(fitness), settings)
        return jnp.abs(state.found.candidate - aim).max()

    keys = jax.random.split(jax.random.key(0), args.searches)
    found = {name: jax.jit(jax.vmap(lambda key, s=s: far(key, s)))(keys) for name, s in SPREADS.items()}
    return [{"spread": name, "reached": int((x < args.near).sum())} for name, x in found.items()]


def by_hand(args: Arguments) -> list[dict[str, Any]]:
    """Right answers to sums, and the largest factor of a singular value, by seed, mixture and what is mixed."""
    study = transformer2.Arguments(out=args.study)
    settings = transformer2.settings_of(study)
    with transformer2.opened(study, settings) as run:
        parts = demo.Parts(run, models.from_pretrained(skills.CHECKPOINT), settings)
        trained = parts.trained("svf_reward", settings.arms["svf_reward"])
    factors, rows = parts.factors_of(settings.arms["svf_reward"]) or {}, []
    for seed, found in trained.items():
        experts = {name: one.adapter for name, one in found.items()}
        raws = jnp.concatenate([entry["raw"].ravel() for e in experts.values() for entry in e.values()])
        for name, weights in BY_HAND.items():
            row = {"seed": seed, "raw < 0": f"{float((raws < 0).mean()):.2f}", "weights": name}
            rows += [row | _tried(args, parts, experts, factors, weights)]
    return rows


def _tried(
    args: Arguments, parts: demo.Parts, experts: Mapping[str, Adapter], factors: Adapter, weights: tuple[float, ...]
) -> dict[str, Any]:
    told, task = {}, parts.tasks["sums"]
    for mix in ("z", "raw"):
        mixture = mix_experts(list(experts.values()), jnp.asarray(weights)[:, None], mix=mix)
        largest = max(float(jnp.abs(scales(mixture[p]["z"], factors[p]["s"])).max()) for p in mixture)
        right = verdicts(parts.model, task, task.test[: args.problems], mixture, factors, rows=128)
        told |= {f"{mix}: right": right.count(True), f"{mix}: largest": f"{largest:,.1f}"}
    return told


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
