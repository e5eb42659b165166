"""How much of a chosen self-edit's lead is luck, by reward and by number of fine-tunes.

Claim     the best of five edits by the gold answers' log-likelihood keeps its lead on fresh fine-tunes, and with a
          third of the fine-tunes chooses as well as accuracy does
Command   python -m experiments.selection_noise --out runs/selection_noise
Hardware  two CPU cores; resumes from --out when run again
Expected  kept: accuracy 0.88, 0.94, 0.97 with 1, 3 and 9 fine-tunes, log-likelihood 0.97, 0.99, 0.99 (± 0.02)
Last run  2026-11-21, 30 minutes beside other work; tables in docs/seal.md, "Selection noise, and the default reward"
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from seal_jax import models
from seal_jax.cli.report import Report, show
from seal_jax.data.worlds import biographies, self_edits
from seal_jax.runtime import Run
from seal_jax.seal import demo, knowledge, noise

REWARDS, FIELD = ("accuracy", "loglik"), {"accuracy": "correct", "loglik": "loglik"}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """People of the "dev" split, edits of each, fine-tunes an edit to choose by, and as many to check with.

    style: edits all of one style, by the world's generator, in place of the model's own, which differ more.
    """

    out: pathlib.Path = pathlib.Path("runs/selection_noise")
    people: int = 60
    edits: int = 5
    style: str = ""
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
        if args.style:
            edits = [[_edit(p.title, args.style, [args.seed, e]) for e in range(args.edits)] for p in passages]
        else:
            edits = knowledge.write_all(run, "edits", model, passages, settings.edits, args.seed)
        seeds = range(args.seed, args.seed + 2 * args.seeds)
        outcomes = knowledge.score_edits(run, "trials", model, passages, edits, settings, seeds).outcomes
        values = {
            kind: np.array([[[np.mean(o[FIELD[kind]]) for o in edit] for edit in row] for row in outcomes])
            for kind in REWARDS
        }
        rows = [noise.chosen_again(values, kind, count, args.seeds) for kind in REWARDS for count in args.by]
        result = run.finish({"rows": rows, "all_edits": float(values["accuracy"].mean()), "seconds": run.seconds})
        show(
            Report(result, rows, f"best of {args.edits}, {args.people} people; standard errors over people"), args.json
        )
    return result


def _edit(name: str, style: str, seed: list[int]) -> str:
    return self_edits.write(biographies.person(name), np.random.default_rng(seed), style)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
