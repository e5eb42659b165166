"""The cross-entropy method: sample around a mean, keep the best few, move the mean and the spread to them.

`init`, `ask` and `tell` are pure functions of arrays. What is searched for is an array of any shape `[*D]`; larger
values are better. `random_search` has the same three functions without the model of where the good ones are.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Ties = Literal["all", "best", "none"]


def check_range(population: int, minimum: float, maximum: float, ema: float, ties: str) -> None:
    """Raise ValueError for settings that any search refuses."""
    if population < 2:
        raise ValueError(f"population {population}: use 2 or more")
    if not minimum < maximum:
        raise ValueError(f"minimum {minimum}: use a number below the maximum, {maximum}")
    if not 0 <= ema < 1:
        raise ValueError(f"ema {ema}: use a number from 0 to less than 1")
    if ties not in ("all", "best", "none"):
        raise ValueError(f"ties {ties!r}: use 'all', 'best' or 'none'")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the cross-entropy method searches. The defaults are the released code's, but for how ties are broken."""

    population: int = 32
    """Candidates of a generation."""
    elite_ratio: float = 0.2
    """Share of them, rounded down, that the next generation is drawn around: 6 of 32."""
    minimum: float = 0.0
    """What is sampled below is set to it."""
    maximum: float = 1.0
    """What is sampled above is set to it."""
    ema: float = 0.0
    """How much of the old mean and spread stays in the new ones, from 0 to less than 1."""
    std_floor: float = 0.0
    """The spread never falls below."""
    re_eval_best: bool = True
    """The first candidate of a generation is the best of the one before."""
    ties: Ties = "all"
    """Where the second value decides between candidates of equal fitness: for elites and the best; for the best
    alone, as in the released code; or nowhere. What it leaves equal goes by the order of sampling."""

    def __post_init__(self) -> None:
        check_range(self.population, self.minimum, self.maximum, self.ema, self.ties)
        if not 2 <= self.elites <= self.population:
            raise ValueError(
                f"elite_ratio {self.elite_ratio}: {self.elites} of {self.population} candidates would be elites; "
                f"use a ratio that keeps 2 or more, and at most all"
            )
        if not self.std_floor >= 0:
            raise ValueError(f"std_floor {self.std_floor}: use 0 or more")

    @property
    def elites(self) -> int:
        """How many candidates are elites; whole, rounded down."""
        return int(self.population * self.elite_ratio + 1e-9)  # 0.3 of 10 are 3, in binary too


class Scored(NamedTuple):
    """A candidate `[*D]` and its two values `[]`, float32; tie is what decides where the fitness is equal."""

    candidate: jax.Array
    fitness: jax.Array
    tie: jax.Array


class State(NamedTuple):
    """Where the search is. All arrays are float32 but `generation`, int32.

    mean, std `[*D]`: what the next generation is drawn from. best `[*D]`: the best of the last generation (before the
    first: where the search begins). found: the best of all generations, of equals the earliest, with values of -inf
    before the first. generation `[]`: how many have been told.
    """

    mean: jax.Array
    std: jax.Array
    best: jax.Array
    found: Scored
    generation: jax.Array


def init(start: jax.Array, settings: Settings = Settings()) -> State:
    """Begin at `start`, float32 `[*D]`, with a spread of half the range."""
    start = jnp.clip(jnp.asarray(start, jnp.float32), settings.minimum, settings.maximum)
    spread = jnp.full_like(start, (settings.maximum - settings.minimum) / 2)
    return State(start, spread, start, unscored(start), jnp.asarray(0, jnp.int32))


def ask(state: State, key: jax.Array, settings: Settings = Settings()) -> jax.Array:
    """The next candidates, float32 `[population, *D]` within the bounds; generation g draws from `fold_in(key, g)`."""
    shape = (settings.population, *state.mean.shape)
    noise = jax.random.normal(jax.random.fold_in(key, state.generation), shape, jnp.float32)
    drawn = jnp.clip(state.mean[None] + state.std[None] * noise, settings.minimum, settings.maximum)
    return drawn.at[0].set(state.best) if settings.re_eval_best else drawn


def tell(
    state: State, candidates: jax.Array, fitness: jax.Array, ties: jax.Array, settings: Settings = Settings()
) -> State:
    """The state after a generation: candidates `[population, *D]` and their values.

    fitness `[population]`: what is maximised; ties `[population]`: larger is better among equals. Neither may be NaN.
    The new mean and (unbiased) standard deviation are those of the elites, `1 - ema` of them.
    """
    fitness, ties = jnp.asarray(fitness, jnp.float32), jnp.asarray(ties, jnp.float32)
    by_fitness, by_both = rank(fitness, jnp.zeros_like(ties)), rank(fitness, ties)
    elites = candidates[(by_both if settings.ties == "all" else by_fitness)[: settings.elites]]
    winner = (by_fitness if settings.ties == "none" else by_both)[0]
    mean = (1 - settings.ema) * elites.mean(0) + settings.ema * state.mean
    std = (1 - settings.ema) * elites.std(0, ddof=1) + settings.ema * state.std
    found = better(state.found, Scored(candidates[winner], fitness[winner], ties[winner]), settings.ties)
    return State(mean, jnp.maximum(std, settings.std_floor), candidates[winner], found, state.generation + 1)


def rank(fitness: jax.Array, ties: jax.Array) -> jax.Array:
    """Indices int `[N]`, best first: by fitness `[N]`, then by ties `[N]`, then by index."""
    return jnp.lexsort((-ties, -fitness))


def unscored(candidate: jax.Array) -> Scored:
    """A candidate that any other is better than."""
    worst = jnp.asarray(-jnp.inf, jnp.float32)
    return Scored(candidate, worst, worst)


def better(found: Scored, new: Scored, ties: Ties) -> Scored:
    """The better of two; of equals, `found`."""
    ahead = (new.fitness == found.fitness) & (new.tie > found.tie) & (ties != "none")
    wins = (new.fitness > found.fitness) | ahead
    return jax.tree.map(lambda a, b: jnp.where(wins, a, b), new, found)
