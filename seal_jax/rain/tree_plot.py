"""A picture of one explored tree. matplotlib is imported here only."""

from __future__ import annotations

from typing import Any

import numpy as np

from seal_jax.rain.commit import most_visited_of
from seal_jax.rain.tree import NONE, Tree

Places = dict[int, tuple[int, float]]


def draw_tree(axes: Any, tree: Tree, tokenizer: Any, least: int = 1) -> None:
    """Draw an entry of `Result.trees` on matplotlib axes: a column for each set on the way to a leaf, a row for each.

    Every set has its text and its true visits, on a colour from red (value -1) to green (1); what was committed has a
    frame. least: sets with fewer visits are left out.
    """
    root, best = int(tree.root), int(most_visited_of(tree))
    committed = int(tree.child_node[root, best]) if best >= 0 else NONE
    places: Places = {}
    rows = _place(tree, root, least, 0, 0.0, places)
    _box(axes, places[root], f"root  {tree.true_visits[root]}", "white", framed=False)
    for node, place in places.items():
        if node != root:
            _join(axes, places[int(tree.parent[node])], place)
            _label(axes, place, tree, node, tokenizer, framed=node == committed)
    axes.set_xlim(-0.3, max(column for column, _ in places.values()) + 0.5)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.axis("off")


def _place(tree: Tree, node: int, least: int, column: int, row: float, places: Places) -> float:
    """Give places to a node and to what is below it, from `row` on; returns the row after them."""
    children = [int(child) for child in tree.child_node[node] if child != NONE and tree.true_visits[child] >= least]
    after = row
    for child in sorted(children, key=lambda child: -float(tree.visits[child])):
        after = _place(tree, child, least, column + 1, after, places)
    places[node] = (column, float(np.mean([places[child][1] for child in children])) if children else row)
    return after if children else row + 1


def _join(axes: Any, start: tuple[int, float], end: tuple[int, float]) -> None:
    middle = (start[0] + end[0]) / 2
    ways = [start[0], middle, middle, end[0]], [start[1], start[1], end[1], end[1]]
    axes.plot(*ways, color="#b8bec6", linewidth=0.8, zorder=0)


def _label(axes: Any, place: tuple[int, float], tree: Tree, node: int, tokenizer: Any, framed: bool) -> None:
    import matplotlib

    parent, slot = int(tree.parent[node]), int(tree.slot[node])
    tokens = tree.child_tokens[parent, slot, : tree.child_length[parent, slot]].tolist()
    colour = matplotlib.colormaps["RdYlGn"](0.5 + 0.35 * float(tree.value[node]))
    label = f"{' '.join(tokenizer.decode(tokens).split())}  {tree.true_visits[node]}"
    _box(axes, place, label, colour, framed)


def _box(axes: Any, place: tuple[int, float], text: str, colour: Any, framed: bool) -> None:
    box = {"boxstyle": "round,pad=0.25", "facecolor": colour, "edgecolor": "black" if framed else "none"}
    axes.text(*place, text, ha="center", va="center", fontsize=7.5, bbox={**box, "linewidth": 1.5})
