"""What a search carries from round to round, and what does not change in it."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.models import Config, Params
from seal_jax.rain.endings import Endings
from seal_jax.rain.judge import Judge
from seal_jax.rain.memo import Memo, empty_memo
from seal_jax.rain.pages import Pages, Text, empty_pages, empty_text
from seal_jax.rain.rollouts import Rollouts, rows_of
from seal_jax.rain.settings import Settings
from seal_jax.rain.simulate import Simulation, empty_simulation
from seal_jax.rain.tree import Tree, init

# Phases of a slot. A round takes it from COMMIT to the next COMMIT or DESCEND, unless it is still SIMULATING.
DONE, COMMIT, DESCEND, ENTER, SIMULATE, JUDGE = range(6)
# What folds into a node's key for its own draws; its children fold in their slots, which are few.
ROLLOUT, SPARE, SIMULATION, VALUE = (1 << 20, 2 << 20, 3 << 20, 4 << 20)


@dataclasses.dataclass(frozen=True)
class Program:
    """What shapes a compiled search.

    columns: P, of the prompts; judged: columns of judged texts, small to large; group: slots whose rollouts, new pages
    and judgements are computed together; width: E, of embeddings; pause: return before every commit, for who keeps the
    tree, with what judges were shown in it.
    """

    config: Config
    settings: Settings
    columns: int
    judged: tuple[int, ...]
    group: int
    width: int
    pause: bool = False

    @property
    def room(self) -> int:
        """Columns of a text, M: the prompt and what may come after it."""
        return room_of(self.settings, self.columns)


def room_of(settings: Settings, columns: int) -> int:
    """Columns of the text of a prompt that is padded to `columns`."""
    return columns + settings.longest_text


class Fixed(NamedTuple):
    """Arrays that a search reads. params: unrolled."""

    params: Params
    judge: Judge
    embed: Any
    endings: Endings


class Spares(NamedTuple):
    """Sampled rollouts `[B, N, R, S]` for widening, and how many of each node's were used, int32 `[B, N]`."""

    rollouts: Rollouts
    used: jax.Array


class Counts(NamedTuple):
    """What each slot has done for its prompt: int32 `[B]`.

    searches; passes: forward passes it took part in; tokens: that were processed for it; judged: texts; commits;
    value: float32 `[B]` and visits: of what was last committed; cut: bool `[B]`, a leaf was too deep to be expanded.
    """

    searches: jax.Array
    passes: jax.Array
    tokens: jax.Array
    judged: jax.Array
    commits: jax.Array
    value: jax.Array
    visits: jax.Array
    cut: jax.Array


class State(NamedTuple):
    """A search of B prompts.

    phase: int32 `[B]`; leaf: int32 `[B]`; rounds, busy: int32 `[]`, rounds and slots that had a prompt in them;
    passes: int32 `[]`, of all slots together.
    """

    tree: Tree
    text: Text
    pages: Pages
    spares: Spares
    simulation: Simulation
    memo: Memo
    counts: Counts
    phase: jax.Array
    leaf: jax.Array
    rounds: jax.Array
    busy: jax.Array
    passes: jax.Array


def empty_counts(batch: int) -> Counts:
    """Nothing done yet."""
    number = lambda: jnp.zeros(batch, jnp.int32)  # noqa: E731
    return Counts(
        searches=number(),
        passes=number(),
        tokens=number(),
        judged=number(),
        commits=number(),
        value=jnp.zeros(batch, jnp.float32),
        visits=number(),
        cut=jnp.zeros(batch, bool),
    )


def empty_spares(settings: Settings, batch: int) -> Spares:
    """No rollouts drawn."""
    shape = (batch, settings.capacity, rows_of(settings))
    rollouts = Rollouts(
        jnp.full((*shape, settings.longest), -1, jnp.int32), jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32)
    )
    return Spares(rollouts, jnp.zeros(shape[:2], jnp.int32))


def empty(program: Program, batch: int, dtype: jnp.dtype) -> State:
    """A search whose slots have no prompt."""
    keys = jax.random.split(jax.random.key(0), batch)
    number = lambda: jnp.zeros((), jnp.int32)  # noqa: E731
    config, settings = program.config, program.settings
    return State(
        tree=init(settings, keys, program.width, keep_shown=program.pause),
        text=empty_text(config, batch, program.room, dtype),
        pages=empty_pages(config, settings, batch, dtype),
        spares=empty_spares(settings, batch),
        simulation=empty_simulation(config, settings, keys, dtype),
        memo=empty_memo(batch, settings.capacity),
        counts=empty_counts(batch),
        phase=jnp.full(batch, DONE, jnp.int32),
        leaf=jnp.zeros(batch, jnp.int32),
        rounds=number(),
        busy=number(),
        passes=number(),
    )
