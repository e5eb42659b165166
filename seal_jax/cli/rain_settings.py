"""How a search is asked for: a preset, and what is changed of it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, TypeAlias

from seal_jax.rain.presets import preset
from seal_jax.rain.settings import Eos, Score, Settings, Simulation, WidenedPriors

Preset: TypeAlias = Literal["harmlessness", "attack_defence", "truthfulness", "sentiment"]
OFF = {"no_similarity": "similarity", "no_widening": "widening", "no_memory": "remember_values"}


@dataclasses.dataclass(frozen=True)
class Searching:
    """How texts are searched for. What is not given is the preset's; `seal_jax/rain/presets.py` has the numbers."""

    preset: Preset = "harmlessness"
    """The paper's settings of an experiment: what every flag below stands at that is not given."""
    released: bool = False
    """With the defects of the released code that change the result; --eos and --widened-priors have them one by one."""
    max_new_tokens: int | None = None
    """Most tokens of a text."""
    max_searches: int | None = None
    """Visits of the root after which a set of tokens is committed."""
    floor_searches: int | None = None
    """Searches that are allowed for a set however many visits were kept."""
    min_visits: int | None = None
    """A set is committed early only after more visits than this."""
    value_threshold: float | None = None
    """And only if its value, from -1 to 1, is above this."""
    c_puct: float | None = None
    """Weight of exploration."""
    score: Score | None = None
    """Selection as the released code computes it, or as the paper states it."""
    set_lengths: tuple[int, ...] | None = None
    """Tokens of a set by its depth; the last number goes for all deeper ones."""
    candidates: int | None = None
    """Candidate sets of a node."""
    max_children: int | None = None
    """Most sets of a node, those added later included."""
    rollout_top_k: int | None = None
    """Tokens of candidates come from the so many likeliest."""
    rollout_tries: int | None = None
    """Sampled candidates, of which the first distinct ones are kept."""
    temperature: float | None = None
    """Temperature of candidates."""
    root_mix: float | None = None
    """Share of the uniform distribution in the priors of the root's sets."""
    no_similarity: bool = False
    """A visit counts for what was visited alone, and not for similar siblings."""
    similarity_weight: float | None = None
    """The part of a visit that counts for them."""
    similarity_threshold: float | None = None
    """Least cosine of similar siblings."""
    no_widening: bool = False
    """No sets are added to nodes whose sets are all bad and alike."""
    widening_coefficient: float | None = None
    """How alike they have to be."""
    widened_priors: WidenedPriors | None = None
    """Priors add up to 1 after an addition, or are left as they were, as released."""
    simulation: Simulation | None = None
    """A leaf is continued to the end of a sentence, or of the text, before it is judged."""
    max_simulation: int | None = None
    """Most tokens of that continuation."""
    eos: Eos | None = None
    """The text ends at an end token, or goes on after it, as released."""
    no_memory: bool = False
    """Judge the same text again."""
    nodes: int | None = None
    """Visited nodes that a tree has room for."""
    max_depth: int | None = None
    """Most sets between root and leaf."""

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, for what cannot be searched with."""
        self.settings()

    def settings(self) -> Settings:
        """The preset's settings with what was given in their place."""
        given = {name: getattr(self, name) for name in SHARED}
        changed = {name: value for name, value in given.items() if value is not None}
        changed |= {name: False for flag, name in OFF.items() if getattr(self, flag)}
        return _changed(self.preset, self.released, tuple(changed.items()))


@functools.cache
def _changed(name: str, released: bool, changed: tuple[tuple[str, Any], ...]) -> Settings:
    """Made once, since what settings warn of they warn of whenever they are made."""
    return dataclasses.replace(preset(name, released), **dict(changed))


_FIELDS = {field.name for field in dataclasses.fields(Settings)}
SHARED = [field.name for field in dataclasses.fields(Searching) if field.name in _FIELDS]
