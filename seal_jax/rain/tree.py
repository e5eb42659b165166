"""The search tree as arrays of a fixed size.

Statistics belong to nodes that have been visited; what has not been visited is a child of such a node, with its tokens
and its prior. A node keeps its index as long as it lives, so that whatever else is stored for it (its page of keys and
values) stays where it is when the tree is re-rooted; the indices of freed nodes are used again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seal_jax.rain.settings import Settings

NONE = -1  # no node, no child, no token
TIE = 1e-6  # numbers that differ by less, relative to the larger or to 1, are equal: sums of float32 differ by that


class Tree(NamedTuple):
    """Trees of N nodes with up to K children of up to S tokens each; every field has a leading batch axis.

    The whole tree. root: int32 `[]`. start: int32 `[]`, visits that the root had when it became the root. overflow:
    bool `[]`, a full tree has cut a search short.
    Of each node `[N]`, where `used`. parent, slot: int32, which child of which node it is (-1 for the root's parent).
    step: int32, sets since the prompt. key: random keys, which depend on the prompt's key and the path alone. visits:
    float32, with the parts for similar siblings' visits; true_visits: int32, without. value: float32, their mean.
    embedding: float32 `[N, E]`, the mean embedding of what was judged below. terminal: bool, the text ends here.
    Of its children `[N, K]`. child_count: int32 `[N]`, 0 before it is expanded. child_node: int32, -1 before the first
    visit. child_tokens: int32 `[N, K, S]`, -1 beyond child_length int32. child_prior: float32.
    What widening goes on from `[N, K]`, likeliest or latest first: list_token int32, for sets of one token;
    list_log_prob float32 up to a constant, -inf where there is none.
    For who looks at the tree later, of no node unless that was asked for. shown: int32 `[N, C]`, the text that a node
    was last judged by, from the end of the prompt on, -1 beyond it; verdict: float32 `[N]`, the value of that text.
    """

    used: jax.Array
    root: jax.Array
    start: jax.Array
    overflow: jax.Array
    parent: jax.Array
    slot: jax.Array
    step: jax.Array
    key: jax.Array
    visits: jax.Array
    true_visits: jax.Array
    value: jax.Array
    embedding: jax.Array
    terminal: jax.Array
    child_count: jax.Array
    child_node: jax.Array
    child_tokens: jax.Array
    child_length: jax.Array
    child_prior: jax.Array
    list_token: jax.Array
    list_log_prob: jax.Array
    shown: jax.Array
    verdict: jax.Array


def init(settings: Settings, keys: jax.Array, width: int, *, keep_shown: bool = False) -> Tree:
    """Trees of a root alone, one for each of the typed random keys `[B]`; width: of the embeddings, E.

    keep_shown: with room for what judges are shown of each node.
    """
    batch, n, k, s = len(keys), settings.capacity, settings.max_children, settings.longest
    kept = n if keep_shown else 0

    def filled(value: float, dtype: type, *shape: int) -> jax.Array:
        return jnp.full((batch, *shape), value, dtype)

    return Tree(
        used=filled(False, bool, n).at[:, 0].set(True),
        root=filled(0, jnp.int32),
        start=filled(0, jnp.int32),
        overflow=filled(False, bool),
        parent=filled(NONE, jnp.int32, n),
        slot=filled(NONE, jnp.int32, n),
        step=filled(0, jnp.int32, n),
        key=jnp.broadcast_to(keys[:, None], (batch, n)),
        visits=filled(0, jnp.float32, n),
        true_visits=filled(0, jnp.int32, n),
        value=filled(0, jnp.float32, n),
        embedding=filled(0, jnp.float32, n, width),
        terminal=filled(False, bool, n),
        child_count=filled(0, jnp.int32, n),
        child_node=filled(NONE, jnp.int32, n, k),
        child_tokens=filled(NONE, jnp.int32, n, k, s),
        child_length=filled(0, jnp.int32, n, k),
        child_prior=filled(0, jnp.float32, n, k),
        list_token=filled(NONE, jnp.int32, n, k),
        list_log_prob=filled(-math.inf, jnp.float32, n, k),
        shown=filled(NONE, jnp.int32, kept, settings.longest_text),
        verdict=filled(0, jnp.float32, kept),
    )


def tree_bytes(settings: Settings, width: int, *, keep_shown: bool = False) -> int:
    """Bytes of one tree with embeddings of `width`: `N (4 E + 4 K S + 20 K + 38) + 9`.

    With what judges were shown `N (4 C + 4)` more, for texts of C tokens. The random key of a node is counted with 8
    bytes, those of jax's default generator.
    """
    n, k, s = settings.capacity, settings.max_children, settings.longest
    shown = 4 * settings.longest_text + 4 if keep_shown else 0
    return n * (4 * width + 4 * k * s + 20 * k + 38 + shown) + 9


def full(settings: Settings, tree: Tree) -> jax.Array:
    """Trees without room for another node, bool `[B]`."""
    del settings
    return tree.used.all(-1)
