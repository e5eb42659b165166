"""RAIN (arXiv 2309.07124): a search over what to say next, judged by the model itself, with nothing trained."""

from seal_jax.rain import embeddings, judges
from seal_jax.rain.best_of import BestOf, best_of
from seal_jax.rain.host import Result
from seal_jax.rain.judge import Judge
from seal_jax.rain.presets import PRESETS, preset
from seal_jax.rain.search import search
from seal_jax.rain.settings import Settings
from seal_jax.rain.sizes import Memory, memory
from seal_jax.rain.tree import Tree, tree_bytes

__all__ = [
    "PRESETS",
    "BestOf",
    "Judge",
    "Memory",
    "Result",
    "Settings",
    "Tree",
    "best_of",
    "embeddings",
    "judges",
    "memory",
    "preset",
    "search",
    "tree_bytes",
]
