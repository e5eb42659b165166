"""Arguments that commands share."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

Dtype = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The arguments of every run command. A command extends this once, and hands itself to `Run` as the settings."""

    out: pathlib.Path
    """The directory of the run: config.json, metrics.jsonl, result.json. A run that was stopped goes on from it."""
    restart: bool = False
    """Delete what an earlier run left in the directory and begin again."""
    seed: int = 0
    """Seed of everything random."""
    dtype: Dtype = "float32"
    """Type of the model's weights."""
    json: bool = False
    """Print the result as one line of JSON on standard output, and nothing else there."""
