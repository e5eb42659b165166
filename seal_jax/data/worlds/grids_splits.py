"""Which rules of the grids world belong to which split. No name is in two of them.

Pretraining shows single rules. Held out are rules that it never shows and that no turn or flip makes of one it shows,
and compositions of two rules that it does show: of each alone the model is capable, of both at once it is not.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from seal_jax.data.worlds.grids_rules import RULES

_MOVES = ("flip_rows", "flip_columns", "shift_right", "swap_left")
_COPIES = ("spread_top", "spread_left", "mirror_top", "mirror_left")
_PAINTS = ("paint_border", "paint_top", "paint_left", "paint_diagonal", "paint_corners", "paint_middle_row")
_COLOURS = ("recolour", "exchange", "erase", "fill")

PRETRAINING: dict[str, float] = {
    **dict.fromkeys(_MOVES, 1.3),
    **dict.fromkeys(_COPIES, 1.5),
    **dict.fromkeys(_PAINTS, 0.7),
    **dict.fromkeys((*_COLOURS, "flatten"), 1.0),
}
"""Rules that pretraining shows, with their relative frequency: what is harder to learn is shown more often."""

HELD_OUT_RULES = ("transpose", "reverse_top", "reverse_middle", "symmetric_upper", "negative")


def _pairs(first: str, *seconds: str) -> list[str]:
    return [f"{first}+{second}" for second in seconds]


HELD_OUT_COMPOSITIONS = (
    *_pairs("flip_rows", "recolour", "exchange", "erase", "paint_left", "paint_diagonal", "paint_corners"),
    *_pairs("flip_columns", "recolour", "erase", "paint_diagonal", "paint_middle_row", "paint_corners"),
    *_pairs("shift_right", "recolour", "erase", "paint_top", "paint_middle_row"),
    *_pairs("swap_left", "recolour", "fill", "erase", "paint_top", "paint_left", "paint_diagonal", "paint_middle_row"),
    *_pairs("spread_top", "erase", "fill"),
    *_pairs("spread_left", "fill", "paint_top", "paint_left", "paint_middle_row", "paint_corners", "paint_border"),
    *_pairs("mirror_top", "erase", "fill", "paint_top", "paint_diagonal"),
    *_pairs("mirror_left", "erase", "fill", "paint_top", "paint_middle_row"),
    *_pairs("flip_rows", "mirror_left", "shift_right"),
)


def _shuffled(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: zlib.crc32(name.encode()))


def _shares(*places: int) -> tuple[str, ...]:
    """Every fifth name from each of these places on, of the rules and of the compositions."""
    dealt = [_shuffled(HELD_OUT_RULES), _shuffled(HELD_OUT_COMPOSITIONS)]
    return tuple(_shuffled(name for names in dealt for place in places for name in names[place::5]))


_SPLITS = {"pretraining": tuple(PRETRAINING), "train": _shares(0, 1), "dev": _shares(2), "test": _shares(3, 4)}
_USED = {part for names in _SPLITS.values() for name in names for part in name.split("+")}

SPLITS: dict[str, tuple[str, ...]] = {**_SPLITS, "others": tuple(name for name in RULES if name not in _USED)}
"""Rules of each split. "others" has those of no other one, many of them turns of a pretraining rule."""
