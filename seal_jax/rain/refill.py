"""New prompts for the slots that are free."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.models import Shared, hidden_cached, init_cache
from seal_jax.rain.pages import Text
from seal_jax.rain.state import DESCEND, Fixed, Program, State, empty_counts
from seal_jax.rain.tree import init


class Arrivals(NamedTuple):
    """Prompts for W slots. slot: int32 `[W]`, out of bounds for none; tokens: int32 `[W, P]`, mask: bool, left-padded;
    judged_from: int32 `[W]`; keys: random keys `[W]`.
    """

    slot: jax.Array
    tokens: jax.Array
    mask: jax.Array
    judged_from: jax.Array
    keys: jax.Array


@partial(jax.jit, static_argnames="program", donate_argnames="state")
def refill(program: Program, fixed: Fixed, state: State, new: Arrivals) -> State:
    """Give prompts to slots: their text, a tree of a root alone, and nothing counted but the prompt."""
    count = len(new.slot)
    prompt = new.mask.sum(axis=1, dtype=jnp.int32)
    counts = empty_counts(count)._replace(passes=jnp.ones(count, jnp.int32), tokens=prompt)

    def put(field: Any, value: Any) -> Any:
        return jax.tree.map(lambda x, y: x.at[new.slot].set(y, mode="drop"), field, value)

    memo = state.memo._replace(count=put(state.memo.count, jnp.zeros(count, jnp.int32)))
    return state._replace(
        tree=put(state.tree, init(program.settings, new.keys, program.width, keep_shown=program.pause)),
        text=put(state.text, prefilled(program, fixed, state.text, new)),
        pages=state.pages._replace(ending=state.pages.ending.at[new.slot, 0].set(0, mode="drop")),
        spares=state.spares._replace(used=state.spares.used.at[new.slot, 0].set(0, mode="drop")),
        memo=memo,
        counts=put(state.counts, counts),
        phase=put(state.phase, jnp.full(count, DESCEND, jnp.int32)),
        passes=state.passes + 1,
    )


def prefilled(program: Program, fixed: Fixed, text: Text, new: Arrivals) -> Text:
    """Texts of prompts alone, `[W, ...]`, with room for what will be committed."""
    config, more = program.config, program.room - program.columns
    cache = init_cache(config, len(new.slot), program.columns, text.last.dtype)
    hidden, cache = hidden_cached(fixed.params, config, new.tokens, cache, new.mask)
    wide = lambda x, axis: jnp.pad(x, [(0, more if i == axis else 0) for i in range(x.ndim)])  # noqa: E731
    slots = lambda each: tuple(wide(x, 2) for x in each)  # noqa: E731
    part = Shared(slots(cache.keys), slots(cache.values), wide(cache.positions, 1), wide(cache.valid, 1))
    prompt = new.mask.sum(axis=1, dtype=jnp.int32)
    return Text(part, wide(new.tokens, 1), prompt, jnp.zeros_like(prompt), new.judged_from, hidden[:, -1])
