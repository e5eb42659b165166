"""Attention windows of single layers: `layer_types` of a `config.json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from seal_jax.models.config import Config
from seal_jax.models.families.fields import Fields

FULL, SLIDING = "full_attention", "sliding_attention"


def read_windows(
    fields: Fields, layers: int, window: int | None, slides: Callable[[int], bool]
) -> tuple[int | None, ...] | None:
    """The window of each layer, by `layer_types` where given, else by `slides`, a function of the layer's number.

    None where no layer has one. Raises CheckpointError if the list does not fit.
    """
    types = fields.raw("layer_types") or [SLIDING if slides(i) else FULL for i in range(layers)]
    if not isinstance(types, Sequence) or len(types) != layers or any(t not in (FULL, SLIDING) for t in types):
        raise fields.refuse("layer_types", f"{layers} entries, each {FULL!r} or {SLIDING!r}")
    windows = tuple(window if t == SLIDING else None for t in types)
    return windows if any(windows) else None


def write_windows(config: Config, default: int | None = None) -> dict[str, Any]:
    """The inverse of `read_windows`; default: what to write as the window where no layer has one."""
    return {
        "sliding_window": next((w for w in config.windows if w is not None), default),
        "layer_types": [FULL if w is None else SLIDING for w in config.windows],
    }
