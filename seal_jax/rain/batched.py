"""Functions of one tree, called with a batch of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import jax

from seal_jax.rain.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


def batched(function: Callable[Concatenate[Settings, P], R]) -> Callable[Concatenate[Settings, P], R]:
    """`function(settings, *arrays)` of one tree, as a function whose arrays all have a leading batch axis."""

    @functools.wraps(function)
    def over_trees(settings: Settings, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return jax.vmap(functools.partial(function, settings))(*args, **kwargs)

    return over_trees
