"""Continual learning: regularizers and projections as gradient transforms, losses, replay, merging, metrics."""

from seal_jax.continual.regularizers.ewc import ewc
from seal_jax.continual.regularizers.l2_sp import l2_sp
from seal_jax.continual.regularizers.mas import mas
from seal_jax.continual.regularizers.online_ewc import online_ewc
from seal_jax.continual.regularizers.rec_adam import rec_adam
from seal_jax.continual.regularizers.si import si
from seal_jax.continual.task_end import consolidate, penalty

__all__ = [
    "consolidate",
    "ewc",
    "l2_sp",
    "mas",
    "online_ewc",
    "penalty",
    "rec_adam",
    "si",
]
