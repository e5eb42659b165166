"""Continual learning: regularizers and projections as gradient transforms, losses, replay, merging, metrics."""

from seal_jax.continual import (
    expand,
    lambdas,
    language,
    losses,
    merge,
    methods,
    metrics,
    projections,
    ranking,
    replay,
    schedules,
)
from seal_jax.continual.importance.fisher import fisher, logits_fisher
from seal_jax.continual.importance.sensitivity import output_sensitivity, sensitivity
from seal_jax.continual.method import Method, Problem
from seal_jax.continual.projections.agem import agem
from seal_jax.continual.projections.freeze import freeze_mask, grad_mask, mask_from_importance, set_grad_mask
from seal_jax.continual.projections.gem import gem
from seal_jax.continual.projections.gpm import extend_basis, gpm
from seal_jax.continual.projections.inputs import layer_inputs
from seal_jax.continual.projections.ogd import extend_directions, ogd
from seal_jax.continual.projections.olora import extend_frozen, olora, olora_project
from seal_jax.continual.regularizers.ewc import ewc
from seal_jax.continual.regularizers.l2_sp import l2_sp
from seal_jax.continual.regularizers.mas import mas
from seal_jax.continual.regularizers.online_ewc import online_ewc
from seal_jax.continual.regularizers.rec_adam import rec_adam
from seal_jax.continual.regularizers.si import si
from seal_jax.continual.reset import reset_moments
from seal_jax.continual.run import Result, run
from seal_jax.continual.schedules import lr_adjust, rewarm
from seal_jax.continual.task_end import consolidate, penalty
from seal_jax.continual.task_stream import Settings, Task

__all__ = [
    "Method",
    "Problem",
    "Result",
    "Settings",
    "Task",
    "agem",
    "consolidate",
    "ewc",
    "expand",
    "extend_basis",
    "extend_directions",
    "extend_frozen",
    "fisher",
    "freeze_mask",
    "gem",
    "gpm",
    "grad_mask",
    "l2_sp",
    "lambdas",
    "language",
    "layer_inputs",
    "logits_fisher",
    "losses",
    "lr_adjust",
    "mas",
    "mask_from_importance",
    "merge",
    "methods",
    "metrics",
    "ogd",
    "olora",
    "olora_project",
    "online_ewc",
    "output_sensitivity",
    "penalty",
    "projections",
    "ranking",
    "rec_adam",
    "replay",
    "reset_moments",
    "rewarm",
    "run",
    "schedules",
    "sensitivity",
    "set_grad_mask",
    "si",
]
