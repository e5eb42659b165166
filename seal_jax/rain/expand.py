"""Children for a leaf."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seal_jax.rain.batched import batched
from seal_jax.rain.candidates import Candidates, canonical
from seal_jax.rain.settings import Settings
from seal_jax.rain.tree import Tree


def mixed(settings: Settings, prior: jax.Array, real: jax.Array) -> jax.Array:
    """Priors float32 `[K]` of the real children with a share of the uniform distribution, adding up to 1."""
    share = settings.root_mix
    uniform = share / jnp.maximum(jnp.sum(real, dtype=jnp.float32), 1.0)
    new = jnp.where(real, (1 - share) * prior + uniform, 0.0)
    return new / jnp.where(real.any(), new.sum(), 1.0)


def priors(settings: Settings, log_prob: jax.Array, real: jax.Array, is_root: jax.Array) -> jax.Array:
    """Probabilities `[K]` of the real ones among themselves, mixed if they are the root's children."""
    plain = jnp.where(real, jax.nn.softmax(log_prob, where=real), 0.0)
    return jnp.where(is_root, mixed(settings, plain, real), plain)


def likeliest(log_prob: jax.Array, count: jax.Array | int) -> jax.Array:
    """Which of a list `[K]`, likeliest first, are as likely as the count-th or more, bool; all if it is shorter."""
    last = log_prob[jnp.clip(count, 1, len(log_prob)) - 1]
    return (log_prob >= last) & (log_prob > -jnp.inf)


def by_token(tokens: jax.Array, allowed: jax.Array) -> jax.Array:
    """The order `[K]` that puts allowed sets of one token first, by increasing token."""
    value = jnp.where(allowed, tokens[:, 0], jnp.iinfo(jnp.int32).max)
    index = jnp.arange(len(value))
    smaller = (value[None] < value[:, None]) | ((value[None] == value[:, None]) & (index[None] < index[:, None]))
    place = smaller.sum(-1)  # for so few this compiles and runs faster than a sort
    return jnp.argmax(place[None] == index[:, None], axis=-1)


@batched
def expand(
    settings: Settings, tree: Tree, leaf: jax.Array, candidates: Candidates, terminal: jax.Array, where: jax.Array
) -> Tree:
    """Give a leaf int32 `[B]` its children, in the trees where bool `[B]`, unless it is terminal bool `[B]`.

    Sets of one token: the first `candidates` of the list and what is as likely, by increasing token. Longer sets: all,
    in order. A leaf as deep as D below the root, or with children, gets none.
    """
    is_root, size = leaf == tree.root, settings.max_children
    single = settings.set_length(tree.step[leaf]) == 1
    listed = candidates.log_prob
    kept = jnp.where(single, likeliest(listed, settings.candidates), listed > -jnp.inf)
    order = jnp.where(single, by_token(candidates.tokens, kept), jnp.arange(size))
    real = jnp.arange(size) < kept.sum()
    length = jnp.where(real, candidates.length[order], 0)
    prior = priors(settings, listed[order], real, is_root)
    shallow = tree.step[leaf] - tree.step[tree.root] < settings.depth
    grows = where & ~terminal & (tree.child_count[leaf] == 0) & shallow
    at = jnp.where(grows, leaf, tree.used.size)  # out of bounds: nothing is written
    return tree._replace(
        terminal=tree.terminal.at[jnp.where(where, leaf, tree.used.size)].set(terminal, mode="drop"),
        child_count=tree.child_count.at[at].set(jnp.sum(kept, dtype=jnp.int32), mode="drop"),
        child_tokens=tree.child_tokens.at[at].set(canonical(candidates.tokens[order], length), mode="drop"),
        child_length=tree.child_length.at[at].set(length, mode="drop"),
        child_prior=tree.child_prior.at[at].set(prior, mode="drop"),
        list_token=tree.list_token.at[at].set(candidates.tokens[:, 0], mode="drop"),
        list_log_prob=tree.list_log_prob.at[at].set(listed, mode="drop"),
    )
