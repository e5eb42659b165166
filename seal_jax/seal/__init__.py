"""SEAL (arXiv 2506.10943): models that write their own fine-tuning data and learn to write it better.

A module is imported when it is first used: commands on recorded files need none of those that bring JAX programs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seal_jax.seal.settings import Settings

if TYPE_CHECKING:
    from seal_jax.seal import (
        answers,
        arc,
        cpt,
        edits,
        graders,
        inner_loop,
        knowledge,
        noise,
        policy,
        recorded,
        rest_em,
        reward,
        sequential,
        sequential_method,
        sequential_metrics,
        sequential_weights,
        settings,
        study,
    )

__all__ = [
    "Settings",
    "answers",
    "arc",
    "cpt",
    "edits",
    "graders",
    "inner_loop",
    "knowledge",
    "noise",
    "policy",
    "recorded",
    "rest_em",
    "reward",
    "sequential",
    "sequential_method",
    "sequential_metrics",
    "sequential_weights",
    "settings",
    "study",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
