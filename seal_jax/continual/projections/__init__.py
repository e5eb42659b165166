"""Projections of gradients and of steps, as optax transforms: what a new task may not undo."""

from seal_jax.continual.projections.agem import agem
from seal_jax.continual.projections.freeze import freeze_mask, grad_mask, mask_from_importance, set_grad_mask
from seal_jax.continual.projections.gem import gem
from seal_jax.continual.projections.gpm import basis_ranks, extend_basis, gpm, orthogonal_start
from seal_jax.continual.projections.held import hold, room
from seal_jax.continual.projections.inputs import layer_inputs
from seal_jax.continual.projections.ogd import extend_directions, ogd
from seal_jax.continual.projections.olora import extend_frozen, olora, olora_project, overlap

__all__ = [
    "agem",
    "basis_ranks",
    "extend_basis",
    "extend_directions",
    "extend_frozen",
    "freeze_mask",
    "gem",
    "gpm",
    "grad_mask",
    "hold",
    "layer_inputs",
    "mask_from_importance",
    "ogd",
    "olora",
    "olora_project",
    "orthogonal_start",
    "overlap",
    "room",
    "set_grad_mask",
]
