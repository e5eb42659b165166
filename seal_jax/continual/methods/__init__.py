"""Ways to protect what was learned, as functions that add themselves to a `Method`; they can be combined.

Each takes a method (to begin with `Method(tx)`) and returns one that does something more, so that `rehearsing(
consolidating(Method(tx), importance), ...)` is EWC with replay.
"""

from seal_jax.continual.methods.annealing import annealed, annealing
from seal_jax.continual.methods.consolidating import (
    Importance,
    consolidating,
    logits_fisher_importance,
    output_importance,
)
from seal_jax.continual.methods.dark import dark
from seal_jax.continual.methods.distilling import distilling
from seal_jax.continual.methods.rehearsing import rehearsing
from seal_jax.continual.methods.remembering import remembering
from seal_jax.continual.methods.spanning import spanning
from seal_jax.continual.methods.stacking import stacking

__all__ = [
    "Importance",
    "annealed",
    "annealing",
    "consolidating",
    "dark",
    "distilling",
    "logits_fisher_importance",
    "output_importance",
    "rehearsing",
    "remembering",
    "spanning",
    "stacking",
]
