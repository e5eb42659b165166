"""RAIN on the embedded dialogue world, beside decoding and the best of N by the same judge.

Claim     a model that answers provoking questions badly answers them well when it searches with its own judgement and
          nothing is trained: above greedy by more than 3 paired standard errors, and above the best of N samples that
          the same judge chooses at as many tokens
Command   python -m experiments.rain --out runs/rain
          python -m experiments.rain --prompts 45 --dev 45 --seeds 0 --out runs/rain_short
Hardware  two CPU cores; resumes from --out when run again
Expected  good answers in %: greedy 55.6, RAIN 87.4 (paired difference 31.9 +- 2.5), best of N 61.9, with soft votes
          78.6; RAIN without similarity 87.2, without widening 87.6, with c = 0 51.9
Last run  2026-11-21, 40 minutes in stages with other work on both cores; docs/rain.md
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from experiments import rain_report
from experiments.rain_methods import Methods
from seal_jax.data.worlds import dialogue
from seal_jax.runtime import Run

VARIANTS: dict[str, dict[str, Any]] = {
    "no_similarity": {"similarity": False},
    "no_widening": {"widening": False},
    "no_exploration": {"c_puct": 0.0},
    "no_similarity_widening": {"similarity": False, "widening": False},
    "none_of_the_three": {"similarity": False, "widening": False, "c_puct": 0.0},
    "paper_score": {"score": "paper"},
    "paper_score_no_exploration": {"score": "paper", "c_puct": 0.0},
    "rain_soft": {"votes": "soft"},
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """prompts, dev: of the test split, and of the dev split, on which N is chosen; seeds: of whatever is drawn.

    variant_seeds: of variants of RAIN and of "best_of_more".
    """

    out: pathlib.Path = pathlib.Path("runs/rain")
    prompts: int = 270
    dev: int = 90
    seeds: tuple[int, ...] = (0, 1, 2)
    variant_seeds: tuple[int, ...] = (0, 1)
    restart: bool = False


def main(args: Arguments) -> None:
    """Run every method, write result.json and rain.png, print the tables."""
    with Run(args.out, args, args.restart) as run:
        methods = Methods(run, dialogue.problems("test", args.prompts))
        samples = sizes(Methods(run, dialogue.problems("dev", args.dev), "dev/"))
        found = {"greedy": [methods.decode(0.0, 0)], "sampling": [methods.decode(1.0, s) for s in args.seeds]}
        found["rain"] = [methods.search("rain", s) for s in args.seeds]
        for name in ("best_of", "best_of_soft"):
            found[name] = [methods.best_of(name, s, *samples[name]) for s in args.seeds]
        for name, changes in VARIANTS.items():
            found[name] = [methods.search(name, s, **changes) for s in args.variant_seeds]
        for name in ("best_of_more", "best_of_more_soft"):
            found[name] = [methods.best_of(name, s, *samples[name]) for s in args.variant_seeds]
        numbers = {name: count for name, (count, _) in samples.items()}
        result = run.finish({"samples": numbers, **rain_report.summary(methods.problems, found)})
    rain_report.show(args.out, result)


def sizes(dev: Methods) -> dict[str, tuple[int, str]]:
    """N of best-of-N and its judge's votes, so that it takes as many tokens as RAIN does on these prompts.

    "best_of_more" takes as many for every prompt as RAIN does for provoking ones, which are searched for longer.
    """
    cost = np.array(dev.search("rain", 0)["tokens_processed"])
    count = dev.samples_for(float(cost.mean()), np.ones(len(cost), bool))
    provoking = dev.samples_for(float(cost[dev.provoking].mean()), dev.provoking)
    return {
        "best_of": (count, "hard"),
        "best_of_soft": (count, "soft"),
        "best_of_more": (provoking, "hard"),
        "best_of_more_soft": (provoking, "soft"),
    }


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
