"""Rules of the grids world: what turns an input grid into its output.

A rule is a function of square grids, int `[E, n, n]` with n >= 3, and of two colours that a task draws for itself. It
works on all examples at once and returns new arrays of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

Grids: TypeAlias = np.ndarray
Colours: TypeAlias = tuple[int, int]


class Rule(NamedTuple):
    """name: unique; family: "move", "copy", "paint", "colour"; apply: `(grids [E, n, n], colours) -> grids`.

    colours: how many of the task's two colours it reads; 0 none, 1 the first, 2 both.
    """

    name: str
    family: str
    colours: int
    apply: Callable[[Grids, Colours], Grids]


def _ring(n: int) -> tuple[list[int], list[int]]:
    """Row and column of the outermost cells, clockwise from the top left corner."""
    last = n - 1
    rows = [0] * last + list(range(last)) + [last] * last + list(range(last, 0, -1))
    columns = list(range(last)) + [last] * last + list(range(last, 0, -1)) + [0] * last
    return rows, columns


def _turn_ring(grids: Grids, by: int) -> Grids:
    rows, columns = _ring(grids.shape[-1])
    out = grids.copy()
    out[:, rows, columns] = np.roll(grids[:, rows, columns], by, axis=1)
    return out


def _swap(grids: Grids, i: int, j: int, axis: int) -> Grids:
    order = np.arange(grids.shape[axis])
    order[[i, j]] = order[[j, i]]
    return np.take(grids, order, axis)


def _swap_corners(grids: Grids, main: bool) -> Grids:
    out = grids.copy()
    one, other = ((0, 0), (-1, -1)) if main else ((0, -1), (-1, 0))
    out[:, one[0], one[1]], out[:, other[0], other[1]] = grids[:, other[0], other[1]], grids[:, one[0], one[1]]
    return out


def _slide(grids: Grids, step: int, axis: int) -> Grids:
    """Row (column) i moves by i cells: a cyclic shear."""
    lines = [np.roll(np.take(grids, i, axis), step * i, axis=1) for i in range(grids.shape[1])]
    return np.stack(lines, axis)


def _reverse_line(grids: Grids, i: int, axis: int) -> Grids:
    out = grids.copy()
    if axis == 1:
        out[:, i, :] = grids[:, i, ::-1]
    else:
        out[:, :, i] = grids[:, ::-1, i]
    return out


_MOVES: dict[str, Callable[[Grids], Grids]] = {
    "flip_rows": lambda g: g[:, ::-1, :].copy(),
    "flip_columns": lambda g: g[:, :, ::-1].copy(),
    "rotate_90": lambda g: np.rot90(g, 1, (1, 2)).copy(),
    "rotate_180": lambda g: np.rot90(g, 2, (1, 2)).copy(),
    "rotate_270": lambda g: np.rot90(g, 3, (1, 2)).copy(),
    "transpose": lambda g: g.transpose(0, 2, 1).copy(),
    "antitranspose": lambda g: np.rot90(g, 2, (1, 2)).transpose(0, 2, 1).copy(),
    "shift_down": lambda g: np.roll(g, 1, 1),
    "shift_up": lambda g: np.roll(g, -1, 1),
    "shift_right": lambda g: np.roll(g, 1, 2),
    "shift_left": lambda g: np.roll(g, -1, 2),
    "shift_diagonal": lambda g: np.roll(g, (1, 1), (1, 2)),
    "shift_antidiagonal": lambda g: np.roll(g, (1, -1), (1, 2)),
    "swap_top": lambda g: _swap(g, 0, 1, 1),
    "swap_bottom": lambda g: _swap(g, -2, -1, 1),
    "swap_left": lambda g: _swap(g, 0, 1, 2),
    "swap_right": lambda g: _swap(g, -2, -1, 2),
    "ring_clockwise": lambda g: _turn_ring(g, 1),
    "ring_counter": lambda g: _turn_ring(g, -1),
    "swap_corners": lambda g: _swap_corners(g, True),
    "swap_anticorners": lambda g: _swap_corners(g, False),
    "slide_rows": lambda g: _slide(g, 1, 1),
    "slide_columns": lambda g: _slide(g, 1, 2),
    "reverse_top": lambda g: _reverse_line(g, 0, 1),
    "reverse_middle": lambda g: _reverse_line(g, g.shape[1] // 2, 1),
    "reverse_bottom": lambda g: _reverse_line(g, -1, 1),
    "reverse_left": lambda g: _reverse_line(g, 0, 2),
    "reverse_right": lambda g: _reverse_line(g, -1, 2),
}


def _spread(grids: Grids, i: int, axis: int) -> Grids:
    return np.repeat(np.take(grids, [i], axis), grids.shape[axis], axis)


def _mirror(grids: Grids, axis: int, last: bool) -> Grids:
    """One half becomes the mirror image of the other; last: the half that is kept is the second."""
    n = grids.shape[axis]
    order = np.minimum(np.arange(n), n - 1 - np.arange(n))
    return np.take(grids, n - 1 - order if last else order, axis)


def _symmetric(grids: Grids, upper: bool) -> Grids:
    kept = np.triu(np.ones(grids.shape[1:], bool))
    return np.where(kept if upper else kept.T, grids, grids.transpose(0, 2, 1))


_COPIES: dict[str, Callable[[Grids], Grids]] = {
    "spread_top": lambda g: _spread(g, 0, 1),
    "spread_bottom": lambda g: _spread(g, -1, 1),
    "spread_left": lambda g: _spread(g, 0, 2),
    "spread_right": lambda g: _spread(g, -1, 2),
    "spread_middle_row": lambda g: _spread(g, g.shape[1] // 2, 1),
    "spread_middle_column": lambda g: _spread(g, g.shape[2] // 2, 2),
    "mirror_top": lambda g: _mirror(g, 1, False),
    "mirror_bottom": lambda g: _mirror(g, 1, True),
    "mirror_left": lambda g: _mirror(g, 2, False),
    "mirror_right": lambda g: _mirror(g, 2, True),
    "symmetric_upper": lambda g: _symmetric(g, True),
    "symmetric_lower": lambda g: _symmetric(g, False),
}

_PAINTED: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "border": lambda r, c, n: (r == 0) | (c == 0) | (r == n - 1) | (c == n - 1),
    "inside": lambda r, c, n: (r > 0) & (c > 0) & (r < n - 1) & (c < n - 1),
    "top": lambda r, c, n: r == 0,
    "bottom": lambda r, c, n: r == n - 1,
    "left": lambda r, c, n: c == 0,
    "right": lambda r, c, n: c == n - 1,
    "middle_row": lambda r, c, n: r == n // 2,
    "middle_column": lambda r, c, n: c == n // 2,
    "diagonal": lambda r, c, n: r == c,
    "antidiagonal": lambda r, c, n: r + c == n - 1,
    "corners": lambda r, c, n: ((r == 0) | (r == n - 1)) & ((c == 0) | (c == n - 1)),
    "cross": lambda r, c, n: (r == n // 2) | (c == n // 2),
    "saltire": lambda r, c, n: (r == c) | (r + c == n - 1),
    "checkers": lambda r, c, n: (r + c) % 2 == 1,
    "above": lambda r, c, n: c > r,
    "below": lambda r, c, n: c < r,
}


def _paint(shape: str) -> Callable[[Grids, Colours], Grids]:
    def apply(grids: Grids, colours: Colours) -> Grids:
        n = grids.shape[-1]
        rows, columns = np.indices((n, n))
        return np.where(_PAINTED[shape](rows, columns, n), colours[0], grids)

    return apply


_COLOURS: dict[str, tuple[int, Callable[[Grids, Colours], Grids]]] = {
    "recolour": (2, lambda g, c: np.where(g == c[0], c[1], g)),
    "exchange": (2, lambda g, c: np.where(g == c[0], c[1], np.where(g == c[1], c[0], g))),
    "erase": (1, lambda g, c: np.where(g == c[0], 0, g)),
    "keep": (1, lambda g, c: np.where(g == c[0], g, 0)),
    "fill": (1, lambda g, c: np.where(g == 0, c[0], g)),
    "flatten": (1, lambda g, c: np.where(g == 0, 0, c[0])),
    "negative": (1, lambda g, c: np.where(g == 0, c[0], 0)),
}


def _plain(change: Callable[[Grids], Grids]) -> Callable[[Grids, Colours], Grids]:
    return lambda grids, colours: change(grids)


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        *(Rule(name, "move", 0, _plain(change)) for name, change in _MOVES.items()),
        *(Rule(name, "copy", 0, _plain(change)) for name, change in _COPIES.items()),
        *(Rule(f"paint_{shape}", "paint", 1, _paint(shape)) for shape in _PAINTED),
        *(Rule(name, "colour", colours, change) for name, (colours, change) in _COLOURS.items()),
    )
}


def rule(name: str) -> Rule:
    """The rule of a name; "a+b" is a, then b. A composition reads as many colours as its parts do.

    Raises ValueError for a name that is none.
    """
    parts = name.split("+")
    if unknown := [part for part in parts if part not in RULES]:
        raise ValueError(f"{name!r}: no rule {unknown[0]!r}; rules are {', '.join(RULES)}")
    if len(parts) == 1:
        return RULES[name]
    first, second = (RULES[part] for part in parts)
    return Rule(
        name,
        "composition",
        max(first.colours, second.colours),
        lambda grids, colours: second.apply(first.apply(grids, colours), colours),
    )
