"""`seal-jax continual metrics|merge`: recorded scores in, figures out; adapters in, an adapter out. No model is run."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from seal_jax.cli.options import at_least, occupied
from seal_jax.cli.report import Report

if TYPE_CHECKING:
    from seal_jax.continual.metrics import Scores

MEANINGS = {
    "op": "overall performance: the mean after the last task",
    "la": "learning accuracy: the mean right after learning each",
    "aaa": "average over time of the mean over the tasks so far",
    "bwt": "backward transfer: after the last task minus right after learning",
    "bwt_lower": "the same, over every later moment",
    "forgetting": "best score before the last task minus the last",
    "forgetting_max_all": "the same, with the last among those the best is of",
    "forgetting_last": "right after learning minus after the last task",
    "fwt": "forward transfer: just before learning minus the baseline",
    "fwt_upper": "mean score on tasks that are not learned yet",
    "fwt_vs_single": "right after learning minus learned alone",
    "intransigence": "learned with all tasks so far minus right after learning",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metrics:
    """Figures of continual learning from a matrix of scores: row i on each task after learning task i."""

    scores: Annotated[tuple[pathlib.Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The matrix: JSON of {"matrix": [[...]], "tasks", "baseline", "single", "joint"}, of which all but the matrix may
    be missing; CSV or TSV; .npy, or .npz of the same names; or the directory of a run. Several, of runs that differ in
    their seed, give means and standard errors."""
    holes: bool = False
    """Take means of the scores that are known; without it, one that is missing on or below the diagonal is an error."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def check(self) -> None:
        """Raise ValueError without a file."""
        if not self.scores:
            raise ValueError("give a FILE with a matrix of scores, or several")

    def __call__(self) -> Report:
        """Read and compute."""
        from seal_jax.continual import metrics

        found = [metrics.read_scores(path) for path in self.scores]
        figures = [_figures(path, scores, self.holes) for path, scores in zip(self.scores, found, strict=True)]
        if len(found) == 1:
            by_task, curve = metrics.by_task(found[0].matrix, found[0].baseline), metrics.curve(found[0].matrix)
            result = {"metrics": figures[0], "tasks": found[0].tasks, "by_task": by_task, "curve": curve}
            rows = [figure_row(name, {"value": value}) for name, value in figures[0].items()]
            return Report(result, rows, f"{len(curve)} tasks", by_task_lines(found[0].tasks, by_task))
        names = {tuple(scores.tasks) for scores in found}
        if len(names) > 1:
            raise ValueError(f"the files are of different tasks: {' / '.join(', '.join(n) for n in sorted(names))}")
        over = metrics.over_runs(figures)
        rows = [figure_row(name, {"mean": x.mean, "± stderr": x.stderr, "runs": x.runs}) for name, x in over.items()]
        result = {"metrics": over, "tasks": found[0].tasks, "runs": figures}
        return Report(result, rows, f"{len(found[0].tasks)} tasks, {len(found)} runs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Merge:
    """Merge LoRA adapters of one base model into one, by what they add to its weights."""

    adapters: Annotated[tuple[pathlib.Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ADAPTER")]
    """Adapters in the PEFT layout, two or more directories."""
    model: str
    """The base model, of which the configuration is read: a directory in the Hugging Face layout, or a hub name."""
    out: pathlib.Path
    """The directory to write, in the PEFT layout; new or empty."""
    method: Literal["linear", "ties", "dare", "dare_ties"] = "linear"
    """The weighted sum; trimmed and with elected signs; with random drops; both."""
    weights: tuple[float, ...] = ()
    """One for each adapter; by default 1 / number of adapters for linear and dare, and 1 for ties and dare_ties."""
    rank: int | None = None
    """Rank of the merged adapter. By default linear has the sum of the ranks and is exact, and the others the largest
    rank and are the nearest of that rank."""
    density: float = 0.5
    """Share of an adapter's changes that ties and dare keep."""
    sign: Literal["total", "frequency"] = "total"
    """Of ties: the sign that prevails by sum, or by number."""
    seed: int = 0
    """Seed of dare's random drops."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def check(self) -> None:
        """Raise ValueError for arguments out of their range, and an --out that is not empty."""
        at_least(0, seed=self.seed)
        at_least(1, rank=self.rank)
        if len(self.adapters) < 2:
            raise ValueError(f"{len(self.adapters)} adapters to merge: give two or more")
        if self.weights and len(self.weights) != len(self.adapters):
            raise ValueError(
                f"--weights has {len(self.weights)} numbers for {len(self.adapters)} adapters: give one each"
            )
        if not 0 < self.density <= 1:
            raise ValueError(f"--density {self.density}: use more than 0, and 1 at most")
        if occupied(self.out):
            raise ValueError(f"{self.out} exists and is not an empty directory; choose another --out")

    def __call__(self) -> Report:
        """Read, merge and write."""
        import jax

        from seal_jax import models
        from seal_jax.continual import merge
        from seal_jax.models.hf import open_checkpoint
        from seal_jax.models.merge import base_reader
        from seal_jax.models.peft import read_adapter

        source = open_checkpoint(self.model)
        held = [read_adapter(path, source.config, base_reader(source)) for path in self.adapters]
        settings: dict[str, Any] = {"rank": self.rank, "density": self.density, "sign": self.sign}
        weights, key = self.weights or None, jax.random.key(self.seed)
        found = merge.merge_adapters(held, self.method, weights, key=key, **settings)
        models.save_peft(self.out, found.adapter, source.config)
        rank = max(entry["a"].shape[-1] for entry in found.adapter.values())
        kept = {path: float(share) for path, share in found.kept.items()}
        worst = min(kept, key=lambda path: kept[path])
        result = {"out": self.out, "adapters": self.adapters, "method": self.method, "rank": rank, "kept": kept}
        notes = [f"{len(held)} adapters merged to one of rank {rank}, written to {self.out}"]
        if kept[worst] < 0.999:
            notes.append(f"rank {rank} holds {kept[worst]:.1%} of the change of {worst}, the least of all")
        return Report(result, notes=notes)


def _figures(path: pathlib.Path, scores: Scores, holes: bool) -> dict[str, float]:
    try:
        return scores.figures(holes)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).replace('allow holes', 'pass --holes')}") from error


def figure_row(name: str, columns: dict[str, Any]) -> dict[str, Any]:
    """A row of a table of figures: its name, numbers by title, NaN as nothing, and what it is."""
    shown = {title: None if isinstance(x, float) and math.isnan(x) else x for title, x in columns.items()}
    return {"figure": name, **shown, "what it is": MEANINGS.get(name, "")}


def by_task_lines(tasks: Sequence[str], by_task: dict[str, list[float | None]]) -> list[str]:
    """What became of each task, the one that lost most named last."""
    width = max(map(len, tasks))
    lost = by_task["forgetting_last"]
    rows = zip(tasks, by_task["learned"], by_task["final"], strict=True)
    lines = [f"{task:{width}}  learned {_shown(learned)}, in the end {_shown(final)}" for task, learned, final in rows]
    known = [k for k, value in enumerate(lost) if value is not None and value > 0]
    worst = max(known, key=lambda k: lost[k] or 0.0, default=None)
    return [*lines, "nothing was forgotten" if worst is None else f"forgot most: {tasks[worst]}, {_shown(lost[worst])}"]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
