"""SEAL on few-shot ARC: the embedded grids world at full size, or ARC files.

Claim     two rounds of behaviour cloning make the model write better edits: the untrained model, when it is trained by
          them, solves more tasks that no round has met than when it is trained by its own edits of round 0. (The paper
          claims it for the policy itself as the learner: that is measured beside it, and does not hold on this world)
Command   python -m experiments.arc_few_shot --out runs/arc_few_shot
              two rounds of 60 tasks with 24 edits each, then 200 other tasks under every condition
          python -m experiments.arc_few_shot --data CHALLENGES.json --tasks 2 --edits 2 --max-sequences 16 \
              --out runs/arc_files
              one round of two tasks and two other tasks, unless --rounds and --test say otherwise
          with the released settings, on an accelerator of 80 GB: seal-jax seal arc --model \
              meta-llama/Llama-3.2-1B-Instruct --data arc-agi_training_challenges_filtered_1B_training_set.json \
              --test arc-agi_evaluation_challenges_filtered_1B_eval_set.json --train-tasks 12 --test-tasks 10 \
              --dtype bfloat16 --out runs/arc_llama
Hardware  two CPU cores; resumes from --out when run again
Expected  solved: icl 0.21, round_0 0.20, the first model by edits of round 1 0.31 (+0.110 +- 0.020) and of round 2 0.42
          (+0.220 +- 0.026), oracle 0.66. Where they train the policy itself, the paper's form, 0.24 and 0.18: +0.035
          +- 0.025 and -0.023 +- 0.025, not above round 0
Last run  2026-11-21, 118 minutes beside other work; docs/arc.md, "On the grids world"
"""

from __future__ import annotations

import dataclasses
import pathlib

from seal_jax import models
from seal_jax.cli.errors import exit_code, leave
from seal_jax.cli.options import at_least
from seal_jax.cli.report import Report, finished, show
from seal_jax.cli.seal_arc import Arc
from seal_jax.runtime import Run
from seal_jax.seal.arc import demo


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A study of the grids world on fresh tasks in each round, or with --data of ARC files, the same in each round.

    tasks: of a round. rounds: 2, with --data 1. test: tasks of the evaluation, 200, with --data as many as --tasks
    (there 0 is all that fit). edits: tried for each task of a round, and no more than that for one of the evaluation.
    """

    out: pathlib.Path = pathlib.Path("runs/arc_few_shot")
    data: pathlib.Path | None = None
    model: pathlib.Path = demo.CHECKPOINT
    tasks: int = demo.TASKS
    rounds: int | None = None
    test: int | None = None
    edits: int | None = None
    max_sequences: int | None = None
    seed: int = 0
    restart: bool = False
    json: bool = False


def main(args: Arguments) -> None:
    """Run the study, write result.json and accuracy.png, print the table. ValueError for arguments out of range."""
    rounds, test = numbers(args)
    args = dataclasses.replace(args, rounds=rounds, test=test)
    show((grids_world if args.data is None else arc_files)(args, rounds, test), args.json)


def numbers(args: Arguments) -> tuple[int, int]:
    """How many rounds and tasks of the evaluation there are; ValueError naming a flag whose number is out of range."""
    at_least(1, tasks=args.tasks, edits=args.edits, max_sequences=args.max_sequences)
    at_least(0, rounds=args.rounds, seed=args.seed)
    at_least(1 if args.data is None else 0, test=args.test)
    rounds, test = (demo.ROUNDS, demo.TEST) if args.data is None else (1, args.tasks)
    return rounds if args.rounds is None else args.rounds, test if args.test is None else args.test


def grids_world(args: Arguments, rounds: int, test: int) -> Report:
    """Rounds on fresh tasks of the world's "train" split, evaluation on "test"."""
    settings = demo.with_limits(demo.SETTINGS, args.edits, args.max_sequences)
    with Run(args.out, {**dataclasses.asdict(args), "settings": settings}, args.restart) as run:
        model = models.from_pretrained(args.model)
        result = demo.grids_study(run, model, settings, args.tasks, rounds, test, args.seed)
        return finished(run, result, "tasks")


def arc_files(args: Arguments, rounds: int, test: int) -> Report:
    """Rounds on tasks of the file, evaluation on others of them."""
    assert args.data is not None
    command = Arc(
        out=args.out,
        restart=args.restart,
        seed=args.seed,
        model=str(args.model),
        data=args.data,
        train_tasks=args.tasks,
        test_tasks=test,
        rounds=rounds,
        edits=args.edits,
        max_sequences=args.max_sequences,
        controls=True,
        settings=demo.FILES,
    )
    command.check()
    return command()


if __name__ == "__main__":
    import tyro

    leave(exit_code(lambda: main(tyro.cli(Arguments)), "arc_few_shot"))
