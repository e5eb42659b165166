"""What the settings of learning from reward and of learning on solutions have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seal_jax import training
from seal_jax.adapters.scales import COMPOSITIONS

SCHEDULES = {"constant": training.constant_schedule, "cosine": training.cosine_schedule}


def check_least(settings: Any, **least: int) -> None:
    """Raise ValueError unless each named setting is None or at least the number given for it; NaN is not."""
    for name, smallest in least.items():
        value = getattr(settings, name)
        if value is not None and not value >= smallest:
            raise ValueError(f"{name}={value}: expected {smallest} or more")


def check_choices(settings: Any, **known: Sequence[str]) -> None:
    """Raise ValueError unless each named setting is one of the names given for it."""
    for name, names in known.items():
        if getattr(settings, name) not in names:
            raise ValueError(f"{name}={getattr(settings, name)!r} is not one of {', '.join(map(repr, names))}")


def check_shared(settings: Any) -> None:
    """Raise ValueError for a setting out of its range, of those that both ways of learning have."""
    check_least(settings, iterations=0, batch_size=1, eval_every=1, patience=0, validate_on=1, rows=1, micro_batch=1)
    check_least(settings, learning_rate=0, weight_decay=0, clip=0)
    check_choices(settings, schedule=tuple(SCHEDULES), compose=COMPOSITIONS)


def hyper_of(settings: Any) -> training.Hyper:
    """The numbers of the optimizer."""
    steps = max(settings.iterations, 1)
    return training.Hyper(settings.learning_rate, steps, weight_decay=settings.weight_decay, clip=settings.clip)
