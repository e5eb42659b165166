"""Figures of sequences of edits: accuracy matrices as heat maps, and curves with errors."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

COLORS = ("#2f6fb0", "#c4572f", "#3b8f5a", "#7a5ba8", "#8a6d3b", "#5f6b76")


def heat_maps(path: str | os.PathLike[str], matrices: Mapping[str, ArrayLike], title: str) -> None:
    """Write a PNG with a heat map of each `[steps + 1, items]` matrix of accuracies (0 to 1, NaN: not asked).

    Rows are the edits made so far, the first of them none; columns the items in the order of their edits. All share
    one scale; an item's own edit has a frame. Raises ValueError without a matrix.
    """
    found = {name: np.asarray(m, np.float64) for name, m in matrices.items()}
    if not found:
        raise ValueError(f"{path}: no matrix to draw")
    widest = max(m.shape[1] for m in found.values())
    figure = _figure(max(4.2, 0.55 * widest + 1.2) * len(found), 0.42 * widest + 2.0)
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    top = max(float(np.nanmax(m)) for m in found.values())
    drawn = None
    for axis, (name, matrix) in zip(axes, found.items()):
        drawn = axis.imshow(100 * matrix, cmap="viridis", vmin=0, vmax=100 * top, aspect="auto")
        _cells(axis, matrix, top)
        axis.set_xticks(range(matrix.shape[1]), [str(i + 1) for i in range(matrix.shape[1])])
        axis.set_yticks(range(matrix.shape[0]), ["none", *(str(i) for i in range(1, matrix.shape[0]))])
        axis.set_xlabel("item, in the order of the edits")
        axis.set_title(name, fontsize=11)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    axes[0].set_ylabel("edits made so far")
    figure.colorbar(drawn, ax=list(axes), label="accuracy (%)", fraction=0.04, pad=0.015)
    figure.suptitle(title)
    _save(figure, path)


def curves(
    path: str | os.PathLike[str],
    found: Mapping[str, Sequence[Mapping[str, float]]],
    title: str,
    x: str = "age",
    labels: tuple[str, str] = ("edits since the item's own", "accuracy over no edit (points)"),
) -> None:
    """Write a PNG of curves `{name: [{x, "mean", "stderr"}]}` in percent, bands of one standard error, a line at 0.

    Raises ValueError without a curve.
    """
    if not found:
        raise ValueError(f"{path}: no curve to draw")
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()
    for color, (name, rows) in zip(COLORS, found.items()):
        at, mean, error = (np.array([row[k] for row in rows], np.float64) for k in (x, "mean", "stderr"))
        mean, error = 100 * mean, 100 * np.nan_to_num(error)
        axes.plot(at, mean, color=color, marker="o", markersize=4, label=name)
        axes.fill_between(at, mean - error, mean + error, color=color, alpha=0.18, linewidth=0)
    axes.axhline(0, color="#444444", linewidth=0.8)
    axes.set_xticks(sorted({row[x] for rows in found.values() for row in rows}))
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, path)


def _cells(axis: Any, matrix: np.ndarray, top: float) -> None:
    from matplotlib.patches import Rectangle

    for (row, column), value in np.ndenumerate(matrix):
        if not np.isnan(value):
            ink = "white" if value < 0.6 * top else "black"
            axis.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=ink, fontsize=8)
        if row == column + 1:
            frame = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#d04a2b", linewidth=1.6)
            axis.add_patch(frame)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    return FigureCanvasAgg(Figure(figsize=(width, height), layout="constrained")).figure


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150, format="png")
