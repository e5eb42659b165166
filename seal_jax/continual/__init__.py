"""Continual learning: regularizers and projections as gradient transforms, losses, replay, merging, metrics."""

from seal_jax.continual import lambdas
from seal_jax.continual.importance.fisher import fisher, logits_fisher
from seal_jax.continual.importance.sensitivity import output_sensitivity, sensitivity
from seal_jax.continual.regularizers.ewc import ewc
from seal_jax.continual.regularizers.l2_sp import l2_sp
from seal_jax.continual.regularizers.mas import mas
from seal_jax.continual.regularizers.online_ewc import online_ewc
from seal_jax.continual.regularizers.rec_adam import rec_adam
from seal_jax.continual.regularizers.si import si
from seal_jax.continual.reset import reset_moments
from seal_jax.continual.task_end import consolidate, penalty

__all__ = [
    "consolidate",
    "ewc",
    "fisher",
    "l2_sp",
    "lambdas",
    "logits_fisher",
    "mas",
    "online_ewc",
    "output_sensitivity",
    "penalty",
    "rec_adam",
    "reset_moments",
    "sensitivity",
    "si",
]
