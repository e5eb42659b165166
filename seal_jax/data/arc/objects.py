"""Objects of a grid: connected cells of one colour other than 0, and moving one of them."""

from __future__ import annotations

import numpy as np

from seal_jax.data.arc.tasks import Grid

Cells = frozenset[tuple[int, int]]
_SIDES = ((0, 1), (1, 0), (0, -1), (-1, 0))


def objects_of(grid: Grid) -> list[Cells]:
    """The connected components (by sides) of each colour but 0, in reading order of their first cells."""
    left = {(r, c): cell for r, row in enumerate(grid) for c, cell in enumerate(row) if cell}
    found = []
    while left:
        first, color = next(iter(left.items()))
        del left[first]
        members, edge = {first}, [first]
        while edge:
            r, c = edge.pop()
            near = [(r + dr, c + dc) for dr, dc in _SIDES if left.get((r + dr, c + dc)) == color]
            for cell in near:
                del left[cell]
            members.update(near)
            edge.extend(near)
        found.append(frozenset(members))
    return found


def moved_object(grid: Grid, rng: np.random.Generator) -> Grid:
    """The grid with one object moved to where it covers nothing; the grid as it is if there is no such place."""
    moves = []
    for cells in _shuffled(objects_of(grid), rng):
        height, width = (max(side) + 1 for side in zip(*cells))
        top, left = (min(side) for side in zip(*cells))
        for dr in range(-top, len(grid) - height + 1):
            for dc in range(-left, len(grid[0]) - width + 1):
                there = frozenset((r + dr, c + dc) for r, c in cells)
                if (dr or dc) and _free(grid, cells, there):
                    moves.append(there)
        if moves:
            return _placed(grid, cells, moves[rng.integers(len(moves))])
    return grid


def rotated_object(grid: Grid, rng: np.random.Generator) -> Grid:
    """The grid with one object turned about its upper left corner, where that covers nothing and changes something."""
    for cells in _shuffled(objects_of(grid), rng):
        turns = [there for there in _turned(cells) if there != cells and _free(grid, cells, there)]
        if turns:
            return _placed(grid, cells, turns[rng.integers(len(turns))])
    return grid


def _turned(cells: Cells) -> list[Cells]:
    """The three other orientations, with the same upper left corner of the bounding box."""
    top, left = (min(side) for side in zip(*cells))
    height, width = (max(side) - low for side, low in zip(zip(*cells), (top, left)))
    local = [(r - top, c - left) for r, c in cells]
    turns = (
        [(width - c, r) for r, c in local],
        [(height - r, width - c) for r, c in local],
        [(c, height - r) for r, c in local],
    )
    return [frozenset((top + r, left + c) for r, c in turn) for turn in turns]


def _free(grid: Grid, cells: Cells, there: Cells) -> bool:
    inside = all(0 <= r < len(grid) and 0 <= c < len(grid[0]) for r, c in there)
    return inside and all(grid[r][c] == 0 for r, c in there - cells)


def _placed(grid: Grid, cells: Cells, there: Cells) -> Grid:
    r, c = min(cells)
    color, out = grid[r][c], [list(row) for row in grid]
    for where, value in ((cells, 0), (there, color)):
        for r, c in where:
            out[r][c] = value
    return tuple(map(tuple, out))


def _shuffled(objects: list[Cells], rng: np.random.Generator) -> list[Cells]:
    return [objects[i] for i in rng.permutation(len(objects))]
