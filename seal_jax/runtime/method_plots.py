"""Figures that compare ways to learn a stream of tasks."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

Estimates = Mapping[str, Mapping[str, float]]

KEPT, LEARNED = "#2f6fb0", "#c4572f"


def kept_and_learned(path: str | os.PathLike[str], methods: Mapping[str, Estimates], title: str) -> None:
    """Write a PNG with two dots a method: what is known of all tasks at the end, and of each when it was learned.

    methods: `{name: {"op": {"mean", "stderr"}, "la": {"mean", "stderr"}}}` in percent, drawn from the top in the order
    of "op"; the line between the two is what was forgotten, plus whatever the last task gained. ValueError without one.
    """
    if not methods:
        raise ValueError(f"{path}: no method to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = sorted(methods, key=lambda name: methods[name]["op"]["mean"])
    figure = FigureCanvasAgg(Figure(figsize=(7.2, 1.2 + 0.3 * len(names)), layout="constrained")).figure
    axes = figure.add_subplot()
    for row, name in enumerate(names):
        ends = [methods[name][key]["mean"] for key in ("op", "la")]
        axes.plot(ends, [row, row], color="#bbbbbb", linewidth=2, zorder=1)
    _dots(axes, names, methods, "op", KEPT, "all tasks, at the end")
    _dots(axes, names, methods, "la", LEARNED, "each task, when it was learned")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("accuracy (%)")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150, format="png")


def _dots(axes: Any, names: list[str], methods: Mapping[str, Estimates], key: str, color: str, label: str) -> None:
    means = [methods[name][key]["mean"] for name in names]
    errors = [methods[name][key]["stderr"] for name in names]
    axes.errorbar(
        means, range(len(names)), xerr=errors, fmt="o", color=color, markersize=5, capsize=2, label=label, zorder=2
    )
