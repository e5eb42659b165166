"""Nineteen ways to learn a stream of five permutations of one small classification problem.

Claim     online EWC, SI and MAS end 9 points or more above plain training, a replayed reservoir of 10 % 22 or more
Command   python -m experiments.continual_synthetic --out runs/continual_synthetic
Hardware  two CPU cores, at most 15 minutes; resumes from --out when run again
Expected  on all tasks at the end (%): naive 47, MAS 58, EWC (latest anchor) 59, SI 59, replay of 1, 3, 10 % 59, 67, 79,
          DER++ with 3 % 78, joint 90
Last run  2026-11-21, 133 s with other work on the machine; tables in docs/continual.md
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.permuted_methods import ROWS, SHAPE, TABLE, Entry, starts
from seal_jax.cli.report import Report, show
from seal_jax.continual import demo, metrics
from seal_jax.continual.run import run as learn
from seal_jax.continual.task_stream import Settings
from seal_jax.evaluation.matrix import known_error, known_mean
from seal_jax.runtime import Run, method_plots

COLUMNS = ("op", "la", "forgetting_last")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Streams that are reported (seeds 0, 1, ...), others that strengths are chosen on, and passes over each task.

    only: some of the methods, by name.
    """

    out: pathlib.Path = pathlib.Path("runs/continual_synthetic")
    seeds: int = 5
    tuning_seeds: int = 3
    epochs: int = 8
    only: tuple[str, ...] = tuple(TABLE)
    restart: bool = False
    json: bool = False


def main(args: Arguments) -> dict[str, Any]:
    """Choose every method's strength, run it on the reported seeds; writes result.json and methods.png, prints both."""
    with Run(args.out, args, args.restart) as run:
        found = {name: _method(run, name, TABLE[name], args) for name in args.only}
        texts = {name: {c: _text(f[c]) for c in COLUMNS} for name, f in found.items()}
        rows = [{"method": name, **text, "strength": found[name]["strength"]} for name, text in texts.items()]
        total = sum(run.seconds.values())
        result = run.finish({"methods": found, "seconds": run.seconds, "total_seconds": total})
        method_plots.kept_and_learned(args.out / "methods.png", found, "Five permuted tasks, one head")
        title = f"{args.seeds} streams of {SHAPE.tasks} tasks; percent, mean and standard error over streams"
        show(Report(result, rows, title), args.json)
    return result


def _method(run: Run, name: str, entry: Entry, args: Arguments) -> dict[str, Any]:
    """A method's strength, chosen on the tuning seeds, with the whole grid, and its figures on the reported seeds."""
    stage = "".join(c if c.isalnum() else "_" for c in name)
    best, tuned = entry.grid[0], {}
    if len(entry.grid) > 1:
        seeds = range(1000, 1000 + args.tuning_seeds)
        tuned = run.stage(f"tune/{stage}", lambda: _scores(entry, seeds, entry.grid, args.epochs))
        best = max(entry.grid, key=lambda strength: tuned[f"{strength:g}"]["op"])
    tested = range(args.seeds), [best] * args.seeds
    matrices = run.stage(f"test/{stage}", lambda: _lanes(entry, *tested, args.epochs).tolist())
    each = [metrics.from_matrix(m) for m in matrices]
    estimates = {c: _estimate([100 * (e[c] if np.isfinite(e[c]) else 0.0) for e in each]) for c in COLUMNS}
    return {**estimates, "strength": best, "grid": tuned, "matrices": matrices}


def _scores(entry: Entry, seeds: Sequence[int], grid: Sequence[float], epochs: int) -> dict[str, dict[str, float]]:
    """Mean figures of each strength, all of them and all seeds side by side in one program."""
    lanes = [(seed, strength) for strength in grid for seed in seeds]
    matrices = _lanes(entry, [seed for seed, _ in lanes], [s for _, s in lanes], epochs)
    by_strength = matrices.reshape(len(grid), len(seeds), *matrices.shape[1:])
    figures = [[metrics.from_matrix(m) for m in of] for of in by_strength]
    return {f"{s:g}": {c: 100 * float(np.mean([f[c] for f in of])) for c in COLUMNS} for s, of in zip(grid, figures)}


def _lanes(entry: Entry, seeds: Sequence[int], strengths: Sequence[float], epochs: int) -> np.ndarray:
    tasks = entry.tasks(demo.tasks(seeds, SHAPE))
    given = (entry.problem, entry.make, starts(entry, seeds), tasks, entry.evaluate)
    hyper, settings = jnp.asarray(strengths, jnp.float32), Settings(batch_size=ROWS, epochs=epochs)
    return learn(*given, settings, hyper=hyper, seeds=seeds).matrix


def _estimate(values: Sequence[float]) -> dict[str, float]:
    return {"mean": known_mean(values), "stderr": known_error(values)}


def _text(estimate: dict[str, float]) -> str:
    return f"{estimate['mean']:.1f} ± {estimate['stderr']:.1f}"


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
