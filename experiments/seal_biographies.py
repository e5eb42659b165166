"""SEAL on the biographies world, at full size.

Claim     two rounds of ReST-EM make the model write self-edits that teach it more: accuracy on people it never met
          rises over the untrained policy and over a policy trained on randomly chosen edits
Command   python -m experiments.seal_biographies --out runs/seal_biographies
Hardware  two CPU cores; resumes from --out when run again
Expected  round_0 0.26, round_1 0.52, round_2 0.69, random_edits 0.20, oracle 0.76, each +- 0.016 or less
Last run  2026-11-21, 652 s with other work on the machine; the table is in docs/seal.md, "Results"
"""

from __future__ import annotations

import dataclasses
import pathlib

from seal_jax.cli.report import finished, show
from seal_jax.runtime import Run
from seal_jax.seal import demo


@dataclasses.dataclass(frozen=True)
class Arguments:
    """People of a round and of the evaluation, and fine-tunes per edit whose rewards are averaged."""

    out: pathlib.Path = pathlib.Path("runs/seal_biographies")
    passages: int = 100
    rounds: int = 2
    test: int = 400
    seeds: int = 3
    seed: int = 0
    restart: bool = False
    json: bool = False


def main(args: Arguments) -> None:
    """Run the study, write result.json and accuracy.png, print the table."""
    settings = dataclasses.replace(demo.SETTINGS, seeds=args.seeds)
    with Run(args.out, args, args.restart) as run:
        result = demo.biographies_study(run, settings, args.passages, args.rounds, args.test, args.seed)
        show(finished(run, result), args.json)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
