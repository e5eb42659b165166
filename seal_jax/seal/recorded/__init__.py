"""The data files of the SEAL reference: read, checked, and used again. No JAX."""

from seal_jax.seal.recorded.aggregate import Aggregate, aggregate
from seal_jax.seal.recorded.completions import Edited, Sequences, read_completions, sequences
from seal_jax.seal.recorded.passages import Subset, subset
from seal_jax.seal.recorded.selection import Selection, selection

__all__ = [
    "Aggregate",
    "Edited",
    "Selection",
    "Sequences",
    "Subset",
    "aggregate",
    "read_completions",
    "selection",
    "sequences",
    "subset",
]
