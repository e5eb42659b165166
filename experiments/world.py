"""A world as `pretrain_worlds` sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from seal_jax.data.worlds.biographies_corpus import Document


class World(NamedTuple):
    """tokenizer: makes the tokenizer; draw: `(rng, tokenizer) -> Document`, one pretraining document.

    probe: `(params, config, tokenizer, settings) -> {measure: value}`; suffices: whether a model with these measures
    is worth shipping; settings: fields of `pretrain_worlds.Settings` that differ from its defaults.
    """

    tokenizer: Callable[[], Any]
    draw: Callable[[np.random.Generator, Any], Document]
    probe: Callable[..., dict[str, float]]
    suffices: Callable[[dict[str, float]], bool]
    settings: dict[str, Any]
