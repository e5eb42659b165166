"""How a leaf's text may go on: one sampled row a slot, to the end of a sentence or of the text."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.models import Cache, Config, Params, Shared, hidden_cached, unembed
from seal_jax.rain.endings import Endings
from seal_jax.rain.settings import Settings


class Simulation(NamedTuple):
    """Simulated continuations of B slots, of up to X tokens.

    keys, values: `[B, K, X, d]` for each layer, a ring of slots that all write in step, each beginning when it has a
    leaf; positions int32, valid bool `[B, X]`; index: int32 `[]`, the next slot of the ring. tokens: int32 `[B, X]`;
    hidden: `[B, X, H]`, their final states; count: int32 `[B]`; ending: int32 `[B]`, the state of the text; last:
    `[B, H]`, the final state of the last token; live: bool `[B]`; key: random keys `[B]`; limit: int32 `[B]`.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    positions: jax.Array
    valid: jax.Array
    index: jax.Array
    tokens: jax.Array
    hidden: jax.Array
    count: jax.Array
    ending: jax.Array
    last: jax.Array
    live: jax.Array
    key: jax.Array
    limit: jax.Array


def empty_simulation(config: Config, settings: Settings, keys: jax.Array, dtype: jnp.dtype) -> Simulation:
    """Nothing simulated, for the slots with the random keys `[B]`."""
    batch, size = len(keys), max(settings.max_simulation, 1)
    shape = (batch, config.num_kv_heads, size, config.head_dim)
    slots = lambda: tuple(jnp.zeros(shape, dtype) for _ in range(config.num_layers))  # noqa: E731
    numbers = lambda *shape: jnp.zeros(shape, jnp.int32)  # noqa: E731
    return Simulation(
        keys=slots(),
        values=slots(),
        positions=numbers(batch, size),
        valid=jnp.zeros((batch, size), bool),
        index=numbers(),
        tokens=numbers(batch, size),
        hidden=jnp.zeros((batch, size, config.hidden_size), dtype),
        count=numbers(batch),
        ending=numbers(batch),
        last=jnp.zeros((batch, config.hidden_size), dtype),
        live=jnp.zeros(batch, bool),
        key=keys,
        limit=numbers(batch),
    )


def begin(
    simulation: Simulation,
    where: jax.Array,
    last: jax.Array,
    ending: jax.Array,
    key: jax.Array,
    limit: jax.Array,
) -> Simulation:
    """Slots where bool `[B]` have a new leaf and are to be continued by limit int32 `[B]` tokens at most."""
    new = {"last": last, "ending": ending, "key": key, "limit": limit}
    fresh = {name: jnp.where(_like(where, x), x, getattr(simulation, name)) for name, x in new.items()}
    return simulation._replace(
        valid=simulation.valid & ~where[:, None],
        count=jnp.where(where, 0, simulation.count),
        live=jnp.where(where, limit > 0, simulation.live),
        **fresh,
    )


def simulate(
    params: Params,
    config: Config,
    endings: Endings,
    parts: tuple[Shared, ...],
    simulation: Simulation,
    leave: jax.Array,
    to_sentence: bool,
) -> tuple[Simulation, jax.Array, jax.Array]:
    """Go on with what is live until no more than leave int32 `[]` are.

    parts: what comes before, B sequences each; to_sentence: a sentence's end is enough. Returns also the tokens
    processed by each slot, int32 `[B]`, and the passes, int32 `[]`.
    """
    size = simulation.valid.shape[1]
    rows = jnp.arange(len(simulation.live))

    def choose(now: Simulation) -> tuple[Simulation, jax.Array]:
        logits = unembed(params, config, now.last)
        keys = jax.vmap(jax.random.fold_in)(now.key, now.count)
        noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[-1:], jnp.float32))(keys)
        token = jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)
        tokens = now.tokens.at[rows, jnp.where(now.live, now.count, size)].set(token, mode="drop")
        return now._replace(tokens=tokens, ending=endings.advance(now.ending, token, now.live)), token

    def step(loop: tuple[Simulation, jax.Array, jax.Array]) -> tuple[Simulation, jax.Array, jax.Array]:
        now, fed, passes = loop
        now, token = choose(now)
        cache = Cache(now.keys, now.values, now.positions, now.valid, now.index, parts)
        hidden, cache = hidden_cached(params, config, jnp.where(now.live, token, 0)[:, None], cache, now.live[:, None])
        at = jnp.where(now.live, now.count, size)
        count = now.count + now.live.astype(jnp.int32)
        over = endings.has_ended(now.ending) | endings.eos[token] | (count >= now.limit)
        if to_sentence:
            over |= endings.sentence[token]
        after = now._replace(
            keys=cache.keys,
            values=cache.values,
            positions=cache.positions,
            valid=cache.valid,
            index=cache.index % size,
            hidden=now.hidden.at[rows, at].set(hidden[:, 0], mode="drop"),
            count=count,
            last=jnp.where(now.live[:, None], hidden[:, 0], now.last),
            live=now.live & ~over,
        )
        return after, fed + now.live.astype(jnp.int32), passes + 1

    def going(loop: tuple[Simulation, jax.Array, jax.Array]) -> jax.Array:
        return loop[0].live.sum() > leave

    nothing = jnp.zeros(len(rows), jnp.int32)
    return jax.lax.while_loop(going, step, (simulation, nothing, jnp.zeros((), jnp.int32)))


def _like(where: jax.Array, x: jax.Array) -> jax.Array:
    return where.reshape(where.shape + (1,) * (x.ndim - 1))
