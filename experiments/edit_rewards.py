"""What self-edits of the biographies world are worth to the untrained model.

Claim     the five styles differ widely in reward, and the model's own edits spread over the same range
Command   python -m experiments.edit_rewards --out runs/edit_rewards
Hardware  two CPU cores
Expected  mean reward: questions 0.75, keywords 0.60, facts 0.13, unfaithful 0.07, vague 0.01; the model's own 0.24
Last run  2026-11-21; the table with errors is in docs/seal.md, "What edits are worth"
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from seal_jax import models
from seal_jax.cli.report import Report, show
from seal_jax.data.worlds import biographies, self_edits
from seal_jax.evaluation.matrix import known_error
from seal_jax.runtime import Run
from seal_jax.seal import demo, knowledge


@dataclasses.dataclass(frozen=True)
class Arguments:
    """People of the "dev" split, each with one edit of every style and `own` edits by the model."""

    out: pathlib.Path = pathlib.Path("runs/edit_rewards")
    people: int = 100
    own: int = 5
    seed: int = 0
    restart: bool = False
    json: bool = False


def main(args: Arguments) -> dict[str, Any]:
    """Score every edit in the inner loop; writes result.json and rewards.png, prints the table."""
    model = models.from_pretrained(demo.CHECKPOINT)
    passages = biographies.passages("dev", args.people, args.seed)
    edits = dataclasses.replace(demo.SETTINGS.edits, count=args.own)
    with Run(args.out, args, args.restart) as run:
        rewards = {
            style: _rewards(run, style, model, passages, [[_edit(p.title, style, args.seed)] for p in passages])
            for style in self_edits.STYLES
        }
        own = knowledge.write_all(run, "own-edits", model, passages, edits, args.seed)
        rewards["written by the model"] = _rewards(run, "own", model, passages, own)
        result = run.finish({name: _statistics(values) for name, values in rewards.items()})
        _figure(run.dir / "rewards.png", rewards)
        rows = [{"edits": name, **row} for name, row in result.items()]
        show(Report(result, rows, "Reward (accuracy after one fine-tune) of edits"), args.json)
    return result


def _edit(name: str, style: str, seed: int) -> str:
    return self_edits.write(biographies.person(name), np.random.default_rng(seed), style)


def _rewards(run: Run, name: str, model: models.Model, passages: Any, edits: Any) -> np.ndarray:
    scores = knowledge.score_edits(run, name, model, passages, edits, demo.SETTINGS, [0])
    return np.array(scores.rewards("accuracy"))


def _statistics(rewards: np.ndarray) -> dict[str, float]:
    quartiles = np.quantile(rewards, [0.25, 0.5, 0.75])
    return {
        "count": rewards.size,
        "mean": float(rewards.mean()),
        "stderr": known_error(rewards.mean(1)),
        **{name: float(q) for name, q in zip(("lower_quartile", "median", "upper_quartile"), quartiles)},
    }


def _figure(path: pathlib.Path, rewards: dict[str, np.ndarray]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 6.5), layout="constrained")
    panels = FigureCanvasAgg(figure).figure.subplots(len(rewards), 1, sharex=True)
    levels = np.arange(7) / 6
    for axes, (name, values) in zip(panels, rewards.items()):
        shares = [float(np.isclose(values, level).mean()) for level in levels]
        axes.bar(levels, shares, width=0.12, color="#2f6fb0")
        axes.axvline(values.mean(), color="#c0392b", linewidth=1.4)
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1], ["0", "", "1"])
        axes.set_title(f"{name} (mean {values.mean():.2f}, n = {values.size})", fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xticks(levels, [f"{i}/6" for i in range(7)])
    panels[-1].set_xlabel("reward: share of the six questions answered after the fine-tune (red: mean)")
    figure.supylabel("share of edits")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
