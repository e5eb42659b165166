"""How much of a chosen self-edit's lead is luck, by reward and by number of fine-tunes.

Claim     of the best of five edits by accuracy of one fine-tune, part of the lead is noise; more seeds, or the
          log-likelihood of the gold answers, keep most of it
Command   python -m experiments.selection_noise --out runs/selection_noise
Hardware  two CPU cores; resumes from --out when run again
Expected  see docs/seal.md, "Selection noise"
Last run  see there
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from seal_jax import models
from seal_jax.cli.report import Report, show
from seal_jax.data.worlds import biographies
from seal_jax.runtime import Run
from seal_jax.seal import demo, knowledge
from seal_jax.seal.reward import sample_std

REWARDS, FIELD = ("accuracy", "loglik"), {"accuracy": "correct", "loglik": "loglik"}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """People of the "dev" split, edits of each, fine-tunes an edit to choose by, and as many to check with."""

    out: pathlib.Path = pathlib.Path("runs/selection_noise")
    people: int = 60
    edits: int = 5
    seeds: int = 9
    by: tuple[int, ...] = (1, 3, 9)
    seed: int = 0
    restart: bool = False
    json: bool = False


def main(args: Arguments) -> dict[str, Any]:
    """Try every edit with all seeds; writes result.json, prints the table."""
    passages = biographies.passages("dev", args.people, args.seed, start=200)
    settings = dataclasses.replace(demo.SETTINGS, edits=dataclasses.replace(demo.SETTINGS.edits, count=args.edits))
    model = models.from_pretrained(demo.CHECKPOINT)
    with Run(args.out, args, args.restart) as run:
        edits = knowledge.write_all(run, "edits", model, passages, settings.edits, args.seed)
        seeds = range(args.seed, args.seed + 2 * args.seeds)
        outcomes = knowledge.score_edits(run, "trials", model, passages, edits, settings, seeds).outcomes
        values = {
            kind: np.array([[[np.mean(o[FIELD[kind]]) for o in edit] for edit in row] for row in outcomes])
            for kind in REWARDS
        }
        rows = [row(values, kind, count, args.seeds) for kind in REWARDS for count in args.by]
        result = run.finish({"rows": rows, "all_edits": float(values["accuracy"].mean()), "seconds": run.seconds})
        show(
            Report(result, rows, f"best of {args.edits}, {args.people} people; standard errors over people"), args.json
        )
    return result


def row(values: dict[str, np.ndarray], kind: str, count: int, seeds: int) -> dict[str, Any]:
    """One line of the table: choose by `kind` on `count` seeds, check on the seeds after the first `seeds`.

    values: of each kind `[people, edits, 2 * seeds]`. Gains are over the mean of all edits of the person, in-sample in
    the units of the reward; every disjoint group of `count` seeds chooses once, and a person's gain is their mean.
    """
    choosing, fresh = values[kind][..., :seeds], {k: v[..., seeds:].mean(-1) for k, v in values.items()}
    gains = {"in_sample": [], **{k: [] for k in REWARDS}}
    for start in range(0, seeds - count + 1, count):
        scores = choosing[..., start : start + count].mean(-1)
        best = scores.argmax(1)
        for name, of in (("in_sample", scores), *fresh.items()):
            gains[name].append(np.take_along_axis(of, best[:, None], 1)[:, 0] - of.mean(1))
    mean = {name: np.mean(of, 0) for name, of in gains.items()}
    kept, error = ratio(mean[kind], mean["in_sample"])
    return {
        "reward": kind,
        "seeds": count,
        "in_sample_gain": float(mean["in_sample"].mean()),
        "fresh_gain": float(mean[kind].mean()),
        "kept": kept,
        "kept_stderr": error,
        "fresh_accuracy_gain": float(mean["accuracy"].mean()),
        "stderr": sample_std(mean["accuracy"]) / len(best) ** 0.5,
    }


def ratio(above: np.ndarray, below: np.ndarray) -> tuple[float, float]:
    """Ratio of two means `[n]` of the same people, and its standard error by the delta method."""
    value = float(above.mean() / below.mean())
    return value, float(sample_std(above - value * below) / len(below) ** 0.5 / below.mean())


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
