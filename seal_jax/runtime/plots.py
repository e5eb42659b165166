"""Figures of a run's result. matplotlib is imported here only, and draws without a display."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

ORDER = ("base", "icl_single", "icl", "other_passage", "passage_only", "random_edits", "random_configs")
LAST = ("with_passage", "oracle")


def accuracy_per_round(path: str | os.PathLike[str], result: Mapping[str, Any], title: str | None = None) -> None:
    """Write a PNG of the accuracy of every condition in `result`, with one standard error up and down.

    result: `{name: {"accuracy": 0..1, "stderr": same unit or None}}`; other entries ("seconds") are passed over.
    Baselines come first, then the rounds in their order, then what bounds them from above ("with_passage", "oracle").
    Raises ValueError if no entry has an accuracy.
    """
    names = conditions(result)
    if not names:
        raise ValueError(f"{path}: the result has no entry with an accuracy, only {', '.join(map(str, result))}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 1.05 * len(names) + 1.2), 4.2), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    values = [100 * result[name]["accuracy"] for name in names]
    errors = [100 * e if _finite(e := result[name].get("stderr")) else 0.0 for name in names]
    _bars(axes, names, values, errors)
    axes.set_xticks(range(len(names)), [_label(name) for name in names])
    axes.set_ylim(0, min(108.0, 1.18 * max(v + e for v, e in zip(values, errors)) + 1))
    axes.set_ylabel("accuracy (%)")
    axes.set_xlabel("what the model learned from (error bars: one standard error)")
    axes.set_title(title or "SEAL: accuracy on held-out passages")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150, format="png")


def conditions(result: Mapping[str, Any]) -> list[str]:
    """The entries of a result that have a finite accuracy, in the order they are drawn."""
    found = [name for name, entry in result.items() if isinstance(entry, Mapping) and _finite(entry.get("accuracy"))]
    rounds = sorted((name for name in found if _is_round(name)), key=lambda name: int(name.split("_")[1]))
    known = [*(n for n in ORDER if n in found), *rounds]
    last = [n for n in LAST if n in found]
    return [*known, *(n for n in found if n not in known and n not in last), *last]


def _bars(axes: Any, names: list[str], values: list[float], errors: list[float]) -> None:
    colors = ["#2f6fb0" if _is_round(name) else "#3b8f5a" if name in LAST else "#9aa5b1" for name in names]
    axes.bar(range(len(names)), values, yerr=errors, capsize=4, color=colors, width=0.66, error_kw={"elinewidth": 1.3})
    for at, (value, error) in enumerate(zip(values, errors)):
        label = f"{value:.1f}"
        axes.annotate(label, (at, value + error), (0, 4), textcoords="offset points", ha="center", fontsize=9)


def _label(name: str) -> str:
    if _is_round(name):
        return f"edits of\nround {name.split('_')[1]}"
    head, of, learner = name.partition("_first_model")
    if of and not learner and _is_round(head):
        return f"{_label(head)},\nfirst model"
    words = name.split("_")
    lines = [""]
    for word in words:
        lines = [*lines[:-1], f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < 11 else [*lines, word]
    return "\n".join(lines)


def _is_round(name: str) -> bool:
    head, _, number = name.partition("_")
    return head == "round" and number.isdecimal()


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
