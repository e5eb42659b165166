"""Which rules of the grids world belong to which split. No name is in two of them.

Pretraining shows single rules. Everything else is held out: rules that it never shows, and every composition of two,
here of a rule that moves, copies or recolours cells and another that recolours or paints them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

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

HELD_OUT_RULES = (
    *("shift_down", "shift_up", "shift_left", "swap_top", "swap_bottom", "swap_right"),
    *("rotate_90", "rotate_180", "transpose", "reverse_middle"),
    *("spread_bottom", "spread_right", "spread_middle_row", "spread_middle_column"),
    *("mirror_bottom", "mirror_right", "symmetric_upper", "symmetric_lower", "antitranspose", "negative"),
)


def _pairs(firsts: Iterable[str], seconds: Iterable[str]) -> list[str]:
    seconds = tuple(seconds)
    return [f"{first}+{second}" for first in firsts for second in seconds]


HELD_OUT_COMPOSITIONS = (
    *_pairs(_MOVES, ("recolour", "exchange", "paint_left", "paint_diagonal")),
    *_pairs(_COPIES, ("paint_diagonal",)),
    *_pairs(("spread_top", "spread_left", "mirror_top"), ("paint_left",)),
    *_pairs(("flip_columns", "shift_right", "swap_left"), ("spread_top", "mirror_top")),
    *_pairs(("flip_rows",), ("spread_left", "mirror_left", "shift_right", "swap_left")),
    *("spread_top+mirror_left", "spread_left+mirror_top", "mirror_top+mirror_left"),
    *_pairs(("exchange",), ("paint_top", "paint_left", "paint_diagonal")),
)


def _shuffled(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: zlib.crc32(name.encode()))


def _shares(*places: int) -> tuple[str, ...]:
    """Every fifth name from each of these places on, of the rules and of the compositions."""
    dealt = [_shuffled(HELD_OUT_RULES), _shuffled(HELD_OUT_COMPOSITIONS)]
    return tuple(_shuffled(name for names in dealt for place in places for name in names[place::5]))


SPLITS: dict[str, tuple[str, ...]] = {
    "pretraining": tuple(PRETRAINING),
    "train": _shares(0, 1),
    "dev": _shares(2),
    "test": _shares(3, 4),
}
