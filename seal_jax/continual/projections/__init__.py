"""Projections of gradients and of steps, as optax transforms: what a new task may not undo."""

from seal_jax.continual.projections.agem import agem
from seal_jax.continual.projections.gem import gem

__all__ = ["agem", "gem"]
