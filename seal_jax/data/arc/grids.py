"""Augmentations of one grid: a name, a function, and where there is one the inverse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from seal_jax.data.arc.tasks import COLORS, Grid


@dataclass(frozen=True)
class Augmenter:
    """A function of a grid under the name the released code gives it; two of one name are equal.

    `inverse` is the augmenter that undoes it, None where the original cannot be had back by one.
    """

    name: str
    function: Callable[[Grid], Grid] = field(compare=False, repr=False)
    undo: Callable[[], Augmenter] | None = field(default=None, compare=False, repr=False)

    def __call__(self, grid: Grid) -> Grid:
        """The augmented grid, which may have sides over 30."""
        return self.function(grid)

    @property
    def inverse(self) -> Augmenter | None:
        """The augmenter with `inverse(self(grid)) == grid`, or None."""
        return self.undo() if self.undo else None


def identity() -> Augmenter:
    """The grid as it is."""
    return Augmenter("Identity()", lambda grid: grid, identity)


def rotate(degrees: int) -> Augmenter:
    """Turned counter-clockwise by 90, 180 or 270 degrees; ValueError for another angle."""
    if degrees not in (90, 180, 270):
        raise ValueError(f"a grid is turned by 90, 180 or 270 degrees, not {degrees}")
    turns = {
        90: lambda grid: tuple(zip(*grid))[::-1],
        180: lambda grid: tuple(row[::-1] for row in grid[::-1]),
        270: lambda grid: tuple(zip(*grid[::-1])),
    }
    return Augmenter(f"Rotate({degrees})", turns[degrees], lambda: rotate(360 - degrees))


def flip(axis: int) -> Augmenter:
    """Rows in reverse order (axis 0), or columns (axis 1)."""
    return Augmenter(f"Flip({_axis(axis)})", lambda grid: _flipped(grid, axis), lambda: flip(axis))


def transpose() -> Augmenter:
    """Rows become columns."""
    return Augmenter("Transpose()", lambda grid: tuple(zip(*grid)), transpose)


def reflect(axis: int, reverse: bool = False) -> Augmenter:
    """The grid and then its flip along the axis (0 below, 1 beside); with `reverse` the flip comes first."""

    def reflected(grid: Grid) -> Grid:
        pair = (grid, _flipped(grid, axis))
        return _joined(pair[::-1] if reverse else pair, axis)

    return Augmenter(f"Reflect({_axis(axis)}, reverse={bool(reverse)})", reflected)


def increase_height(factor: int) -> Augmenter:
    """Each row `factor` times."""
    return Augmenter(f"IncreaseHeight({_count(factor)})", lambda grid: _taller(grid, factor))


def increase_width(factor: int) -> Augmenter:
    """Each column `factor` times."""
    return Augmenter(f"IncreaseWidth({_count(factor)})", lambda grid: _wider(grid, factor))


def increase_resolution(factor: int) -> Augmenter:
    """Each cell a block of `factor` by `factor`."""
    return Augmenter(f"IncreaseResolution({_count(factor)})", lambda grid: _taller(_wider(grid, factor), factor))


def repeat(axis: int, times: int) -> Augmenter:
    """Tiled `times` times downwards (axis 0), sideways (1) or both ways (2)."""
    if axis not in (0, 1, 2):
        raise ValueError(f"a grid is tiled along axis 0, 1 or 2 (both), not {axis}")

    def tiled(grid: Grid) -> Grid:
        wide = grid if axis == 0 else _joined([grid] * times, 1)
        return wide if axis == 1 else _joined([wide] * times, 0)

    return Augmenter(f"Repeat({axis}, {_count(times)})", tiled)


def concat(parts: Sequence[Augmenter], axis: int) -> Augmenter:
    """The grid under each of `parts`, one below the other (axis 0) or side by side (1).

    The call raises ValueError where the parts of a grid do not have the common side.
    """
    name = f"Concat([{', '.join(part.name for part in parts)}], axis={_axis(axis)})"
    return Augmenter(name, lambda grid: _joined([part(grid) for part in parts], axis))


def chain(parts: Sequence[Augmenter]) -> Augmenter:
    """One after the other; it has an inverse where all parts have one."""

    def chained(grid: Grid) -> Grid:
        for part in parts:
            grid = part(grid)
        return grid

    inverses = [part.inverse for part in reversed(parts)]
    known = [inverse for inverse in inverses if inverse is not None]
    undo = (lambda: chain(known)) if len(known) == len(parts) else None
    return Augmenter(f"Chain([{', '.join(part.name for part in parts)}])", chained, undo)


def recolor(colors: Sequence[int]) -> Augmenter:
    """Each cell of colour k becomes `colors[k]`, a permutation of 0-9; the inverse map undoes it.

    ValueError if `colors` is no such permutation.
    """
    table = tuple(int(color) for color in colors)
    if sorted(table) != list(range(COLORS)):
        raise ValueError(f"a map of colours is a permutation of 0-9, not {list(colors)}")
    back = tuple(table.index(color) for color in range(COLORS))
    return Augmenter(
        f"PermuteColorswithMap({list(table)})",
        lambda grid: tuple(tuple(map(table.__getitem__, row)) for row in grid),
        lambda: recolor(back),
    )


def _flipped(grid: Grid, axis: int) -> Grid:
    return grid[::-1] if axis == 0 else tuple(row[::-1] for row in grid)


def _taller(grid: Grid, factor: int) -> Grid:
    return tuple(row for row in grid for _ in range(factor))


def _wider(grid: Grid, factor: int) -> Grid:
    return tuple(tuple(cell for cell in row for _ in range(factor)) for row in grid)


def _joined(grids: Sequence[Grid], axis: int) -> Grid:
    sides = {len(grid) if axis else len(grid[0]) for grid in grids}
    if len(sides) != 1:
        raise ValueError(f"grids of {sorted(sides)} {'rows' if axis else 'columns'} do not go together")
    if axis == 0:
        return tuple(row for grid in grids for row in grid)
    return tuple(tuple(cell for row in rows for cell in row) for rows in zip(*grids))


def _axis(axis: int) -> int:
    if axis not in (0, 1):
        raise ValueError(f"an axis is 0 (rows) or 1 (columns), not {axis}")
    return axis


def _count(number: int) -> int:
    if number < 1:
        raise ValueError(f"a grid is repeated at least once, not {number} times")
    return number
