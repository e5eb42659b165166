"""How RAIN searches. Static under jit: equal settings share a compiled program."""

from __future__ import annotations

import dataclasses
import numbers
import operator
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

Score = Literal["released", "paper"]
WidenedPriors = Literal["renormalised", "released"]
Eos = Literal["end", "released"]
Simulation = Literal["sentence", "end"]
NAMES = {
    "score": ("released", "paper"),
    "widened_priors": ("renormalised", "released"),
    "eos": ("end", "released"),
    "simulation": ("sentence", "end"),
}
SWITCHES = ("similarity", "widening", "remember_values")
OPTIONAL = ("nodes", "max_depth")
# Smallest whole numbers. Two searches, because the first of a fresh tree values the root and only the second a child.
LEAST = {
    "max_children": 2,
    "candidates": 1,
    "rollout_tries": 0,
    "rollout_top_k": 1,
    "max_searches": 2,
    "min_visits": 0,
    "floor_searches": 2,
    "max_simulation": 0,
    "max_new_tokens": 1,
    "nodes": 2,
    "max_depth": 1,
}
# The range of each fraction.
RANGES = {
    "c_puct": (0.0, float("inf")),
    "similarity_weight": (0.0, float("inf")),
    "similarity_threshold": (0.0, 1.0),
    "widening_coefficient": (0.0, float("inf")),
    "root_mix": (0.0, 1.0),
    "value_threshold": (-1.0, 1.0),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How RAIN searches. The defaults are the released code's for harmlessness, but for the defects named here.

    Raises ValueError for what cannot be searched with, naming the field. Numbers of numpy are stored as Python's. Warns
    of a `min_visits` that no set can have before its searches are used up.
    """

    c_puct: float = 2.0
    """Weight of exploration; 0 follows values alone."""
    score: Score = "released"
    """`(q + 1)/2 + c p sqrt(N)/(1 + n)` with the parent's visits N, or as in the paper `q + c p sqrt(N)/(1 + n)` with
    the sum N of its children's. The first term of a child without visits is 0."""
    similarity: bool = True
    """A visit also counts, in part, for siblings with a similar embedding."""
    similarity_weight: float = 0.2
    """The part, times the cosine of the two mean embeddings."""
    similarity_threshold: float = 0.95
    """Least cosine that counts."""
    widening: bool = True
    """A node gets one more child when all its children are bad and alike."""
    widening_coefficient: float = 0.03
    """Children are alike if the norm of the variance of their embeddings is below it, times the tokens of a set."""
    widened_priors: WidenedPriors = "renormalised"
    """After an addition the priors of a node's children add up to 1, or older children keep theirs, as released."""
    max_children: int = 20
    """No node gets more children."""
    candidates: int = 10
    """Candidate sets of an expansion, the greedy one among them."""
    rollout_tries: int = 9
    """Sampled rollouts of an expansion, of which the first distinct ones are kept."""
    rollout_top_k: int = 15
    """A rollout's tokens come from the so many likeliest."""
    temperature: float = 1.0
    """Temperature of rollouts."""
    root_mix: float = 0.25
    """Share of the uniform distribution in the priors of the root's children."""
    max_searches: int = 50
    """Visits of the root after which a set is committed, those it had before it became the root included."""
    min_visits: int = 6
    """The best child is committed early only after more visits than this."""
    value_threshold: float = 0.8
    """And only if its value is above."""
    floor_searches: int = 15
    """So many searches are allowed for a set however many visits the root had before."""
    set_lengths: tuple[int, ...] = (1, 2, 4, 10)
    """Tokens of a set by its depth since the prompt; the last number goes for all deeper ones."""
    simulation: Simulation = "sentence"
    """A leaf's text is continued to the end of a sentence, or to the end of the text, before it is judged."""
    max_simulation: int = 32
    """Most tokens of that continuation."""
    max_new_tokens: int = 128
    """Most tokens of a text; a leaf with more is terminal."""
    eos: Eos = "end"
    """The text ends at an end token, and candidate sets are cut there; or, as released, tokens after it go on, a leaf
    is terminal if its last set has one, and a committed one ends nothing."""
    remember_values: bool = True
    """A text is judged once."""
    nodes: int | None = None
    """Visited nodes that a tree has room for; None: what `capacity` says."""
    max_depth: int | None = None
    """Most sets between the root and a leaf: what is deeper is valued and never expanded. None: as `depth` says."""

    def __post_init__(self) -> None:
        for name, allowed in NAMES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} {getattr(self, name)!r}: use one of {', '.join(map(repr, allowed))}")
        for name in SWITCHES:
            self._store(name, isinstance(getattr(self, name), bool | np.bool_), bool, "True or False")
        for name, least in LEAST.items():
            value = _whole(getattr(self, name))
            if getattr(self, name) is not None or name not in OPTIONAL:
                self._store(name, value is not None and value >= least, int, f"a whole number, {least} or more")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            self._store(name, _is_number(value) and low <= value <= high, float, f"a number from {low:g} to {high:g}")
        warm = _is_number(self.temperature) and 0 < self.temperature < float("inf")
        self._store("temperature", warm, float, "a number above 0")
        if self.max_children < self.candidates:
            raise ValueError(f"candidates {self.candidates}: use at most max_children, {self.max_children}")
        lengths = [_whole(n) for n in self.set_lengths] if isinstance(self.set_lengths, Iterable) else []
        good = bool(lengths) and all(n is not None and n >= 1 for n in lengths)
        asked = "one or more whole numbers of tokens in a tuple, 1 or more each"
        self._store("set_lengths", good, lambda _: tuple(lengths), asked)
        self._warn_of_visits()

    def _store(self, name: str, good: bool, kind: Callable[[Any], Any], asked: str) -> None:
        """Keep a field as Python's own type, so that equal settings look and hash alike, or say what it has to be."""
        value = getattr(self, name)
        if not good:
            raise ValueError(f"{name} {value!r}: use {asked}")
        object.__setattr__(self, name, kind(value))

    def _warn_of_visits(self) -> None:
        # The root's own visit is no child's, and after the last search a set is committed anyway.
        most = max(self.max_searches, self.floor_searches) - 3
        if self.min_visits > most:
            warnings.warn(
                f"min_visits {self.min_visits}: with max_searches {self.max_searches} and floor_searches "
                f"{self.floor_searches} the first set is never committed before its searches are used up; "
                + (f"with {most} or less it can be" if most >= 0 else "they allow too few for that"),
                stacklevel=4,
            )

    @property
    def longest(self) -> int:
        """Tokens of the longest set, S."""
        return max(self.set_lengths)

    @property
    def longest_text(self) -> int:
        """Most tokens after a prompt, C: the new ones, and the set that passes their limit."""
        return self.max_new_tokens + self.longest

    @property
    def capacity(self) -> int:
        """Visited nodes that a tree has room for, N.

        A search adds one node at most. By default there is room for the first phase and for a kept subtree that has
        lost little over several commits; a tree that needs more commits before its budget is used, and says so.
        """
        return self.nodes or 2 * self.max_searches + 4 * self.floor_searches

    @property
    def depth(self) -> int:
        """Most sets between the root and a leaf, D: a deeper leaf would have more than `max_new_tokens`."""
        total, levels = 0, 0
        while total <= self.max_new_tokens:
            total += self.set_lengths[min(levels, len(self.set_lengths) - 1)]
            levels += 1
        return min(levels, self.capacity - 1, self.max_depth or levels)

    def set_length(self, step: jax.Array) -> jax.Array:
        """Tokens of the sets below a node at depth `step` since the prompt, int32, of any shape."""
        lengths = jnp.asarray(np.array(self.set_lengths, np.int32))
        return lengths[jnp.minimum(step, len(self.set_lengths) - 1)]


def _whole(value: Any) -> int | None:
    """A whole number of any library as Python's; None for anything else, True and False among it."""
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _is_number(value: Any) -> bool:
    """Whether `value` is a real number of Python's or numpy's, and not True or False."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
