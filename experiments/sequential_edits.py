"""Sequential self-edits on the biographies world: what eight edits of one model, one after the other, leave of each.

Claim     an edit teaches its own person; edits after it undo that, whether adapters are merged or one is trained on,
          and they undo the skill of writing edits as well; replaying texts of earlier people keeps the former
Command   python -m experiments.sequential_edits --out runs/sequential_edits
Hardware  two CPU cores; resumes from --out when run again
Expected  accuracy right after an edit and at the end: merged 0.23, 0.13; edits of the first model 0.58, 0.17;
          persistent 0.25, 0.10; replay 0.21, 0.18; without any edit 0.03
Last run  2026-11-21, 19 minutes with other work on the machine; the tables are in docs/sequential.md
"""

from __future__ import annotations

import dataclasses
import pathlib

from seal_jax import models
from seal_jax.cli.report import Report, show
from seal_jax.data.worlds import biographies
from seal_jax.runtime import Run, matrix_plots
from seal_jax.seal import demo, knowledge, sequential
from seal_jax.seal import sequential_metrics as metrics
from seal_jax.seal.sequential_method import Method, uniform_replay
from seal_jax.seal.sequential_weights import MERGED, PERSISTENT

METHODS = {
    "merged": Method(MERGED),
    "merged, first edits": Method(MERGED),  # written by the model before any edit, not by what became of it
    "persistent": Method(PERSISTENT),
    "merged, replay": Method(MERGED, replay=uniform_replay(8)),
}
COLUMNS = ("base", "la", "op", "forgetting_last", "gain", "final_gain")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Sequences and the edits of each, of people of the "test" split, none of them in two; and the policy's rounds."""

    out: pathlib.Path = pathlib.Path("runs/sequential_edits")
    sequences: int = 16
    steps: int = 8
    rounds: int = 2
    seed: int = 0
    restart: bool = False
    json: bool = False


def main(args: Arguments) -> None:
    """Run every method on the same sequences, write result.json, matrix.png and gain_by_age.png, print the table."""
    people = biographies.passages("test", args.sequences * args.steps, args.seed)
    drawn = sequential.draw(people, args.sequences, args.steps, seed=args.seed)
    with Run(args.out, args, args.restart) as run:
        model = models.from_pretrained(demo.CHECKPOINT, dtype="float32")
        for i in range(args.rounds):  # the rounds of `seal-jax demo`
            taught = biographies.passages("train", demo.PASSAGES, args.seed, start=i * demo.PASSAGES)
            model, _ = knowledge.train_round(run, f"round_{i + 1}", model, taught, demo.SETTINGS, args.seed)
        written = knowledge.write(run, "first_edits", model, [p for s in drawn for p in s], demo.SETTINGS, args.seed)
        first = [written[i : i + args.steps] for i in range(0, len(written), args.steps)]
        found, lines = {}, {}
        for name, method in METHODS.items():
            stage, edits = name.replace(", ", "_").replace(" ", "_"), first if name.endswith("first edits") else None
            done = sequential.run_sequences(run, stage, model, drawn, demo.SETTINGS, args.seed, method, edits)
            found[name], lines[name] = done.matrices, _lines(done.edits)
        summaries = {name: metrics.summary(m) for name, m in found.items()}
        means = {name: metrics.mean_matrix(m)[0] for name, m in found.items()}
        title = f"Accuracy on each of {args.steps} people, mean of {args.sequences} sequences"
        matrix_plots.heat_maps(args.out / "matrix.png", means, title)
        ages = {name: s["gain_by_age"] for name, s in summaries.items()}
        matrix_plots.curves(args.out / "gain_by_age.png", ages, "What an edit is worth as others follow")
        against = {n: metrics.difference(found[n], found["merged"]) for n in found if n != "merged"}
        result = {
            **{n: {**summaries[n], "matrix": means[n].tolist(), "lines_by_step": lines[n]} for n in found},
            "differences": {f"{name} - merged": difference for name, difference in against.items()},
            "seconds": run.seconds,
        }
        rows = [{"weights": n, **{c: _text(s[c]) for c in COLUMNS}} for n, s in summaries.items()]
        notes = [f"gain by age, {n}: {', '.join(_text(a) for a in curve)}" for n, curve in ages.items()]
        notes += [f"{n} - merged: {', '.join(f'{c} {_text(d[c])}' for c in COLUMNS[1:])}" for n, d in against.items()]
        notes += [f"lines of an edit by step, {n}: {', '.join(f'{x:.1f}' for x in of)}" for n, of in lines.items()]
        show(Report(run.finish(result), rows, title, notes), args.json)


def _lines(edits: list[list[str]]) -> list[float]:
    """Mean number of lines of the edits of each step."""
    return [sum(len(e.splitlines()) for e in step) / len(step) for step in zip(*edits)]


def _text(estimate: dict[str, float]) -> str:
    return f"{estimate['mean']:.3f} ± {estimate['stderr']:.3f}"


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
