"""Figures of experts: how they learnt, what they scale, and what a search mixed. matplotlib is imported here only."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLOURS = ("#2f6fb0", "#d08a2e", "#3b8f5a", "#9a5fb0", "#b04a4a", "#6b7480")


def learning_curves(
    path: str | os.PathLike[str],
    curves: Mapping[str, Mapping[str, Sequence[Sequence[tuple[int, float]]]]],
    title: str = "Validation accuracy while experts are trained",
) -> None:
    """Write a PNG with a panel for each task: accuracy by update, the mean over seeds and the range of them.

    curves: `{task: {method: [one list of (update, accuracy 0..1) per seed]}}`; seeds of a method that stopped early
    count up to their last evaluation. Raises ValueError for nothing to draw.
    """
    if not any(runs for methods in curves.values() for runs in methods.values()):
        raise ValueError(f"{path}: there are no evaluations to draw")
    figure, axes = _panels(1, len(curves), 4.2, 3.6)
    methods = list(dict.fromkeys(method for each in curves.values() for method in each))
    for panel, (task, each) in zip(axes[0], curves.items()):
        for method, runs in each.items():
            _curve(panel, runs, COLOURS[methods.index(method) % len(COLOURS)], method)
        panel.set_title(task)
        panel.set_xlabel("updates")
        panel.set_ylim(0, 103)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("accuracy (%)")
    axes[0][-1].legend(loc="lower right", fontsize=8, frameon=False)
    _save(figure, path, title)


def _curve(panel: Any, runs: Sequence[Sequence[tuple[int, float]]], colour: str, label: str) -> None:
    by_update: dict[int, list[float]] = {}
    for run in runs:
        for update, accuracy in run:
            by_update.setdefault(update, []).append(100 * accuracy)
    updates = sorted(by_update)
    values = [by_update[update] for update in updates]
    panel.plot(updates, [np.mean(v) for v in values], color=colour, label=label, linewidth=1.6)
    least, most = [min(v) for v in values], [max(v) for v in values]
    panel.fill_between(updates, least, most, color=colour, alpha=0.18, linewidth=0)


def scale_vectors(
    path: str | os.PathLike[str],
    experts: Mapping[str, Mapping[str, Any]],
    title: str = "What each expert scales: z of every layer, less its mean",
) -> None:
    """Write a PNG with a row of panels for each expert and a panel for each matrix: z as colours, a row for each layer.

    experts: `{name: {matrix: z [L, k]}}`, largest singular value first; all of the same matrices. Colours have one
    range throughout, symmetric around the mean of the matrix. Raises ValueError for no experts.
    """
    if not experts:
        raise ValueError(f"{path}: there are no experts to draw")
    matrices = list(next(iter(experts.values())))
    figure, axes = _panels(len(experts), len(matrices), 4.2, 1.5)
    less = {n: {m: _less_mean(z[m]) for m in matrices} for n, z in experts.items()}
    most = max(float(np.abs(x).max()) for each in less.values() for x in each.values()) or 1.0
    image = None
    for number, (row, (name, each)) in enumerate(zip(axes, less.items())):
        for panel, matrix in zip(row, matrices):
            image = panel.imshow(each[matrix], aspect="auto", cmap="RdBu_r", vmin=-most, vmax=most)
            panel.set_yticks(range(len(each[matrix])))
            if number == 0:
                panel.set_title(matrix, fontsize=9)
            if number == len(less) - 1:
                panel.set_xlabel("singular value, largest first")
        row[0].set_ylabel(f"{name}\nlayer")
    figure.colorbar(image, ax=axes.ravel().tolist(), shrink=0.8, label="z less its mean")
    _save(figure, path, title)


def _less_mean(z: Any) -> np.ndarray:
    z = np.asarray(z, np.float32)
    return z - z.mean(-1, keepdims=True)


def mixing_weights(
    path: str | os.PathLike[str],
    weights: Mapping[str, Sequence[Sequence[float]]],
    experts: Sequence[str],
    title: str = "Mixing weights that a search found",
) -> None:
    """Write a PNG with a group of bars for each search: the share of every expert, the mean over seeds, seeds as dots.

    weights: `{search: [seeds][experts]}`, not negative; a seed's weights are divided by their sum, since only their
    ratios count where the sum of singular values is kept. Raises ValueError for nothing to draw.
    """
    if not weights:
        raise ValueError(f"{path}: there are no weights to draw")
    figure, axes = _panels(1, 1, max(4.5, 1.8 * len(weights) + 2.0), 3.6)
    panel, width = axes[0][0], 0.8 / len(experts)
    for group, found in enumerate(weights.values()):
        values = np.asarray(found, float)
        shares = values / np.maximum(values.sum(1, keepdims=True), 1e-9)
        for n in range(len(experts)):
            at = group + (n - (len(experts) - 1) / 2) * width
            label = experts[n] if group == 0 else None
            panel.bar(at, shares[:, n].mean(), width * 0.9, color=COLOURS[n % len(COLOURS)], label=label)
            panel.plot([at] * len(shares), shares[:, n], "o", color="#222222", markersize=3, alpha=0.7)
    panel.set_xticks(range(len(weights)), list(weights))
    panel.set_ylabel("share of the weight")
    panel.set_ylim(0, 1.05)
    panel.legend(frameon=False, fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)
    _save(figure, path, title)


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.6), layout="constrained")
    return figure, FigureCanvasAgg(figure).figure.subplots(rows, columns, squeeze=False)


def _save(figure: Any, path: str | os.PathLike[str], title: str) -> None:
    figure.suptitle(title, fontsize=11)
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150, format="png")
