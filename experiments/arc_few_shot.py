"""SEAL on few-shot ARC: the embedded grids world at full size, or ARC files.

Claim     two rounds of behaviour cloning make the model choose how it is trained on a task it has never met so that it
          solves more of them than with the edits it wrote untrained
Command   python -m experiments.arc_few_shot --out runs/arc_few_shot
          python -m experiments.arc_few_shot --data CHALLENGES.json --tasks 2 --edits 2 --max-sequences 16 \
              --out runs/arc_files
          with the released settings, on an accelerator of 80 GB: seal-jax seal arc --model \
              meta-llama/Llama-3.2-1B-Instruct --data arc-agi_training_challenges_filtered_1B_training_set.json \
              --test arc-agi_evaluation_challenges_filtered_1B_eval_set.json --train-tasks 12 --test-tasks 10 \
              --dtype bfloat16 --out runs/arc_llama
Hardware  two CPU cores; resumes from --out when run again
Expected  solved: icl 0.25, round_0 0.20, round_1 0.25, round_2 0.26, oracle 0.66, each +- 0.04: the claim holds in
          right cells (+0.095 +- 0.025) and is not clear of noise in tasks solved (+0.058 +- 0.034)
Last run  2026-11-21, without the controls; docs/arc.md, "On the grids world"
"""

from __future__ import annotations

import dataclasses
import pathlib

from seal_jax import models
from seal_jax.cli.report import Report, finished, show
from seal_jax.cli.seal_arc import Arc
from seal_jax.runtime import Run
from seal_jax.seal.arc import demo


@dataclasses.dataclass(frozen=True)
class Arguments:
    """With --data, --tasks are of the one round and of the evaluation; otherwise of each of two rounds."""

    out: pathlib.Path = pathlib.Path("runs/arc_few_shot")
    data: pathlib.Path | None = None
    model: pathlib.Path = demo.CHECKPOINT
    tasks: int = demo.TASKS
    rounds: int = demo.ROUNDS
    test: int = demo.TEST
    edits: int | None = None
    max_sequences: int | None = None
    seed: int = 0
    restart: bool = False
    json: bool = False


def main(args: Arguments) -> None:
    """Run the study, write result.json and accuracy.png, print the table."""
    show(grids_world(args) if args.data is None else arc_files(args), args.json)


def grids_world(args: Arguments) -> Report:
    """Rounds on fresh tasks of the world's "train" split, evaluation on "test"."""
    settings = demo.with_limits(demo.SETTINGS, args.edits, args.max_sequences)
    with Run(args.out, {**dataclasses.asdict(args), "settings": settings}, args.restart) as run:
        model = models.from_pretrained(args.model)
        return finished(run, demo.grids_study(run, model, settings, args.tasks, args.rounds, args.test, args.seed))


def arc_files(args: Arguments) -> Report:
    """One round on tasks of the file, evaluation on others of them."""
    assert args.data is not None
    return Arc(
        out=args.out,
        restart=args.restart,
        seed=args.seed,
        model=str(args.model),
        data=args.data,
        train_tasks=args.tasks,
        test_tasks=args.tasks,
        edits=args.edits,
        max_sequences=args.max_sequences,
        controls=True,
        settings=demo.FILES,
    )()


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
