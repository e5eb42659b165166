"""One more child for a node whose children are all bad and alike."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seal_jax.rain.batched import batched
from seal_jax.rain.candidates import Candidates
from seal_jax.rain.expand import by_token, likeliest, priors
from seal_jax.rain.settings import Settings
from seal_jax.rain.tree import NONE, Tree


def listed_entries(settings: Settings, tree: Tree, node: jax.Array) -> tuple[Candidates, jax.Array, jax.Array]:
    """One-token sets: entries of the node's list by increasing token, their priors, and the list as it stays."""
    log_prob = tree.list_log_prob[node]
    kept = likeliest(log_prob, tree.child_count[node] + 1)
    prior = priors(settings, log_prob, kept, node == tree.root)
    rows = jnp.full(tree.child_tokens.shape[1:], NONE, jnp.int32).at[:, 0].set(tree.list_token[node])
    order = by_token(rows, kept)
    entries = Candidates(rows, jnp.ones(len(rows), jnp.int32), jnp.where(kept, log_prob, -jnp.inf))
    return jax.tree.map(lambda x: x[order], entries), prior[order], log_prob


def drawn_entries(
    settings: Settings, tree: Tree, node: jax.Array, drawn: Candidates
) -> tuple[Candidates, jax.Array, jax.Array]:
    """Longer sets: what was drawn, its priors, and the list with the drawn ones put before it.

    A prior is the share among the first `children + 1` of the list. What no longer fits into `max_children` entries is
    never among those again. The older entries are children already, so that their tokens need not be kept.
    """
    size = settings.max_children
    there = drawn.log_prob > -jnp.inf
    count = there.sum()
    longer = jnp.concatenate([drawn.log_prob, tree.list_log_prob[node]])
    place = jnp.arange(size)
    log_prob = longer[jnp.where(place < count, place, size + place - count)]
    window = (place <= tree.child_count[node]) & (log_prob > -jnp.inf)
    return drawn, priors(settings, log_prob, window, node == tree.root), log_prob


@batched
def widen(settings: Settings, tree: Tree, node: jax.Array, drawn: Candidates, where: jax.Array) -> Tree:
    """Add children to a node int32 `[B]`, in the trees where bool `[B]`, as far as `max_children` allows.

    Where its sets have one token, what follows in the node's list; drawn is not looked at. Else what of drawn it does
    not have yet, often nothing. What is added has the prior it would have had from the start; the others keep theirs
    (`widened_priors="released"`) or all are scaled to add up to 1.
    """
    single = settings.set_length(tree.step[node]) == 1
    pair = listed_entries(settings, tree, node), drawn_entries(settings, tree, node, drawn)
    entries, prior, listed = jax.tree.map(lambda a, b: jnp.where(single, a, b), *pair)
    children = tree.child_tokens[node]
    real = jnp.arange(len(children)) < tree.child_count[node]
    has = jnp.any(jnp.all(entries.tokens[:, None] == children[None], axis=-1) & real[None], axis=-1)
    new = (entries.log_prob > -jnp.inf) & ~has
    slot = tree.child_count[node] + jnp.cumsum(new, dtype=jnp.int32) - 1
    slot = jnp.where(new, slot, len(children))  # out of bounds, as what is too much: nothing is written
    all_priors = tree.child_prior[node].at[slot].set(prior, mode="drop")
    if settings.widened_priors == "renormalised":
        all_priors = jnp.where(new.any(), all_priors / all_priors.sum(), all_priors)
    at = jnp.where(where, node, tree.used.size)
    total = jnp.minimum(tree.child_count[node] + jnp.sum(new, dtype=jnp.int32), len(children))
    return tree._replace(
        child_count=tree.child_count.at[at].set(total, mode="drop"),
        child_tokens=tree.child_tokens.at[at, slot].set(entries.tokens, mode="drop"),
        child_length=tree.child_length.at[at, slot].set(entries.length, mode="drop"),
        child_prior=tree.child_prior.at[at].set(all_priors, mode="drop"),
        list_log_prob=tree.list_log_prob.at[at].set(listed, mode="drop"),
    )
