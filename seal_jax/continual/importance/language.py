"""What an importance of a language model is of: an adapter on a frozen base, or all weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from seal_jax import models
from seal_jax.training.trainable import AttachFn, join, trainable


class Held(NamedTuple):
    """Arrays that are not differentiated: `params`, the base, None where it is all weights that are; `adapter`, whose
    trained leaves are replaced; `factors`, of SVF.
    """

    params: Any = None
    adapter: Any = None
    factors: Any = None


def parts(params: models.Params, adapter: Any, factors: Any) -> tuple[Any, Held]:
    """What is differentiated, in the structure that the optimizer sees, and what is not. No adapter: all weights."""
    if adapter is None:
        return params, Held()
    base = models.unroll(params) if jax.default_backend() == "cpu" else models.stack(params)
    return trainable(adapter), Held(base, adapter, factors)


def model(wrt: Any, held: Held, attach_fn: AttachFn) -> models.Params:
    """The parameters to run the model with, inside of a trace."""
    if held.params is None:
        return models.unroll(wrt) if jax.default_backend() == "cpu" else wrt
    return attach_fn(held.params, join(wrt, held.adapter), held.factors)
