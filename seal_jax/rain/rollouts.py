"""Candidate sets of several tokens: rollouts of a slot's node, decoded together."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.models import Config, Params, Shared, hidden_cached, init_cache, unembed
from seal_jax.rain.endings import Endings
from seal_jax.rain.settings import Settings


class Rollouts(NamedTuple):
    """R rollouts of each of W nodes.

    tokens: int32 `[W, R, S]`; length: int32 `[W, R]`; log_prob: float32 `[W, R]`, the sum over the tokens.
    """

    tokens: jax.Array
    length: jax.Array
    log_prob: jax.Array


class Start(NamedTuple):
    """Where rollouts of W nodes begin.

    parts: what comes before them, W sequences each; hidden: `[W, H]`, the final state of the node's last token; ending:
    int32 `[W]`, the state of the text; key: random keys `[W]`; greedy: bool `[W]`, whether row 0 is the greedy one;
    limit: int32 `[W]`, tokens of a set, 0 for none.
    """

    parts: tuple[Shared, ...]
    hidden: jax.Array
    ending: jax.Array
    key: jax.Array
    greedy: jax.Array
    limit: jax.Array


class _Loop(NamedTuple):
    rollouts: Rollouts
    ending: jax.Array
    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    token: jax.Array
    fed: jax.Array
    passes: jax.Array
    step: jax.Array


def rows_of(settings: Settings) -> int:
    """R, the rollouts of one node: a greedy one and those that are sampled."""
    return 1 + settings.rollout_tries


def draw(settings: Settings, logits: jax.Array, keys: jax.Array, greedy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A token of each row, int32 `[...]`, from logits float32 `[..., V]`, and its log probability.

    From the `rollout_top_k` likeliest at `temperature`; the likeliest where greedy bool `[...]`. keys: `[...]`.
    """
    values, tokens = jax.lax.top_k(logits, min(settings.rollout_top_k, logits.shape[-1]))
    log_probs = jax.nn.log_softmax(values / settings.temperature)
    size = values.shape[-1]
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (size,), jnp.float32))(keys.reshape(-1)).reshape(values.shape)
    choice = jnp.where(greedy, 0, jnp.argmax(log_probs + noise, axis=-1))[..., None]
    pick = lambda x: jnp.take_along_axis(x, choice, axis=-1)[..., 0]  # noqa: E731
    return pick(tokens).astype(jnp.int32), pick(log_probs)


def row_keys(key: jax.Array, rows: int) -> jax.Array:
    """Keys `[W, R]` of the rollouts of nodes with the keys `[W]`."""
    return jax.vmap(lambda k: jax.vmap(lambda row: jax.random.fold_in(k, row))(jnp.arange(rows)))(key)


def rollouts(
    params: Params, config: Config, settings: Settings, endings: Endings, start: Start
) -> tuple[Rollouts, jax.Array, jax.Array, jax.Array]:
    """Rollouts of W nodes up to their limits or the end of the text, all in step.

    Returns them, the tokens processed for each and the passes it took part in, int32 `[W]`, and all passes, int32 `[]`.
    """
    count, rows, size = len(start.limit), rows_of(settings), settings.longest
    keys = row_keys(start.key, rows)
    greedy = start.greedy[:, None] & (jnp.arange(rows) == 0)[None]
    cache = init_cache(config, count * rows, max(size - 1, 1), start.hidden.dtype)._replace(shared=start.parts)

    def live_rows(loop: _Loop) -> jax.Array:
        return (loop.step < start.limit)[:, None] & ~endings.has_ended(loop.ending)

    def add(loop: _Loop, logits: jax.Array) -> _Loop:
        """One more token on each row that has not ended."""
        live = live_rows(loop)
        now = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(0, None)), in_axes=(0, None))(keys, loop.step)
        token, log_prob = draw(settings, logits, now, greedy)
        old = loop.rollouts
        new = Rollouts(
            old.tokens.at[:, :, loop.step].set(jnp.where(live, token, -1)),
            old.length + live.astype(jnp.int32),
            old.log_prob + jnp.where(live, log_prob, 0.0),
        )
        ending = endings.advance(loop.ending, token, live)
        return loop._replace(rollouts=new, ending=ending, token=jnp.where(live, token, 0), step=loop.step + 1)

    def going(loop: _Loop) -> jax.Array:
        return live_rows(loop).any()

    def feed(loop: _Loop) -> _Loop:
        live = live_rows(loop)
        slots = jnp.arange(cache.valid.shape[1], dtype=jnp.int32)
        before = jnp.broadcast_to((slots < loop.step - 1)[None], cache.valid.shape)
        offset = sum(part.valid.sum(-1, dtype=jnp.int32) for part in start.parts)
        positions = jnp.repeat(jnp.asarray(offset), rows, axis=0)[:, None] + slots[None]
        own = cache._replace(keys=loop.keys, values=loop.values, positions=positions, valid=before, index=loop.step - 1)
        hidden, own = hidden_cached(params, config, loop.token.reshape(-1, 1), own)
        logits = unembed(params, config, hidden[:, 0]).reshape(count, rows, -1)
        fed = loop.fed + live.sum(-1, dtype=jnp.int32)
        passes = loop.passes + live.any(-1).astype(jnp.int32)
        return add(loop._replace(keys=own.keys, values=own.values, fed=fed, passes=passes), logits)

    nothing = Rollouts(
        jnp.full((count, rows, size), -1, jnp.int32),
        jnp.zeros((count, rows), jnp.int32),
        jnp.zeros((count, rows), jnp.float32),
    )
    state = jnp.broadcast_to(start.ending[:, None], (count, rows))
    fed = jnp.zeros(count, jnp.int32)
    first = _Loop(nothing, state, cache.keys, cache.values, nothing.tokens[..., 0], fed, fed, jnp.zeros((), jnp.int32))
    logits = unembed(params, config, start.hidden)[:, None]
    first = add(first, jnp.broadcast_to(logits, (count, rows, logits.shape[-1])))
    done = jax.lax.while_loop(going, feed, first)
    return done.rollouts, done.fed, done.passes, done.step - 1
