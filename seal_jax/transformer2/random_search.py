"""Random search ("random shooting"): uniform candidates, the best is kept. The interface is that of `cem`."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.transformer2.cem import Scored, Ties, better, check_range, rank, unscored


@dataclasses.dataclass(frozen=True)
class Settings:
    """How random search samples. The defaults are the released code's, but for how ties are broken."""

    population: int = 32
    """Candidates of a generation."""
    minimum: float = 0.0
    """Candidates are drawn from here..."""
    maximum: float = 1.0
    """... up to here."""
    ema: float = 0.0
    """How much of the old best stays in the new one, from 0 to less than 1."""
    re_eval_best: bool = True
    """The first candidate of a generation is the best of the one before."""
    ties: Ties = "all"
    """Whether the second value decides between candidates of equal fitness (there are no elites here, so "best" is
    the same as "all"). What it leaves equal goes by the order of sampling."""

    def __post_init__(self) -> None:
        check_range(self.population, self.minimum, self.maximum, self.ema, self.ties)


class State(NamedTuple):
    """Where the search is: the fields of `cem.State` that there are without a mean and a spread.

    best `[*D]` float32: `1 - ema` of the best of the last generation and `ema` of the one before (before the first:
    where the search begins). found: the best of all candidates. generation `[]` int32: how many have been told.
    """

    best: jax.Array
    found: Scored
    generation: jax.Array


def init(start: jax.Array, settings: Settings = Settings()) -> State:
    """Begin with `start`, float32 `[*D]`, as the best."""
    start = jnp.clip(jnp.asarray(start, jnp.float32), settings.minimum, settings.maximum)
    return State(start, unscored(start), jnp.asarray(0, jnp.int32))


def ask(state: State, key: jax.Array, settings: Settings = Settings()) -> jax.Array:
    """The next candidates, float32 `[population, *D]`, uniform; generation g draws from `fold_in(key, g)`."""
    shape = (settings.population, *state.best.shape)
    key = jax.random.fold_in(key, state.generation)
    drawn = jax.random.uniform(key, shape, jnp.float32, settings.minimum, settings.maximum)
    return drawn.at[0].set(state.best) if settings.re_eval_best else drawn


def tell(
    state: State, candidates: jax.Array, fitness: jax.Array, ties: jax.Array, settings: Settings = Settings()
) -> State:
    """The state after a generation; arguments as those of `cem.tell`."""
    fitness, ties = jnp.asarray(fitness, jnp.float32), jnp.asarray(ties, jnp.float32)
    winner = rank(fitness, jnp.zeros_like(ties) if settings.ties == "none" else ties)[0]
    found = better(state.found, Scored(candidates[winner], fitness[winner], ties[winner]), settings.ties)
    best = (1 - settings.ema) * candidates[winner] + settings.ema * state.best
    return State(best, found, state.generation + 1)
