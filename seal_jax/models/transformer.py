"""One decoder for all model families.

The linen modules of `layers.py` describe a single layer; the stack is plain JAX over `params["layers"]`, whose leaves
are `[L, ...]`. Whether the stack is scanned or unrolled is a choice of the program and shows in the tree: stacked
leaves are scanned, a tuple of per-layer trees (see `unroll`) is a Python loop. Both give the same numbers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from seal_jax.adapters.weights import dot
from seal_jax.models import rope
from seal_jax.models.attention import causal_mask, positions_of
from seal_jax.models.cache import Cache, key_slots, write
from seal_jax.models.config import Config
from seal_jax.models.layers import Block, Norm, View
from seal_jax.runtime.constraints import gathered, keep_stored

Params = dict[str, Any]


@partial(jax.jit, static_argnames=("config", "dtype"))
def init(key: jax.Array, config: Config, dtype: Any = jnp.float32) -> Params:
    """Random parameters with stacked layers `[L, ...]`; normal(0.02) kernels, unit norms, zero biases.

    One compiled program: drawn in float32 and cast, without a float32 copy of the whole model.
    """
    keys = jax.random.split(key, config.num_layers + 2)
    x = jnp.zeros((1, 1, config.hidden_size), jnp.float32)
    view = View(rope.rotation(config, jnp.zeros((1, 1), jnp.int32)), jnp.ones((1, 1, 1, 1), bool))

    def layer(key: jax.Array) -> Params:
        variables: Any = Block(config).init(key, x, view, None, None)
        return variables["params"]

    normal = nn.initializers.normal(0.02)
    last: Any = Norm(config).init(key, x)
    params: Params = {
        "embed_tokens": {"embedding": normal(keys[0], (config.vocab_size, config.hidden_size), jnp.float32)},
        "layers": jax.vmap(layer)(keys[2:]),
        "norm": last["params"],
    }
    if config.learned_positions:
        table = normal(jax.random.fold_in(keys[0], 1), (config.max_position, config.hidden_size), jnp.float32)
        params["embed_positions"] = {"embedding": table}
    if not config.tie_embeddings:
        params["lm_head"] = {"kernel": normal(keys[1], (config.hidden_size, config.vocab_size), jnp.float32)}
    return jax.tree.map(lambda p: p.astype(dtype), params)


def unroll(params: Params) -> Params:
    """Split the stacked layers into a tuple of per-layer trees, so that the program loops over them in Python.

    Faster on CPU and in decode, where a scan would copy each layer's slice before its matmul. Do it once, outside
    the compiled program. A tree that is unrolled already passes through.
    """
    layers = params["layers"]
    if isinstance(layers, tuple):
        return params
    count = len(jax.tree.leaves(layers)[0])
    return {**params, "layers": tuple(jax.tree.map(lambda p, i=i: p[i], layers) for i in range(count))}


def stack(params: Params) -> Params:
    """The inverse of `unroll`: per-layer trees become stacked leaves `[L, ...]`."""
    layers = params["layers"]
    if not isinstance(layers, tuple):
        return params
    return {**params, "layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}


def forward(
    params: Params, config: Config, tokens: jax.Array, mask: jax.Array | None = None, *, remat: bool = False
) -> jax.Array:
    """Logits of every position: tokens int32 `[B, T]`, mask bool `[B, T]` (True = real) -> float32 `[B, T, V]`.

    Rows may be padded on either side; positions follow the mask. Logits at pads are meaningless but finite.
    `remat` recomputes each layer in the backward pass instead of keeping its activations.
    """
    return unembed(params, config, hidden_states(params, config, tokens, mask, remat=remat))


def hidden_states(
    params: Params,
    config: Config,
    tokens: jax.Array,
    mask: jax.Array | None = None,
    *,
    positions: jax.Array | None = None,
    remat: bool = False,
) -> jax.Array:
    """The final, normalised hidden states `[B, T, hidden]`: `forward` before the unembedding.

    positions: int32 `[B, T]`, increasing along each row; by default real tokens count from 0 and pads do not count.
    """
    mask = jnp.ones(tokens.shape, bool) if mask is None else mask
    positions = positions_of(mask) if positions is None else positions
    views = _views(config, positions, positions, mask)
    return _run_layers(params, config, _embed(params, config, tokens, positions), views, remat=remat)[0]


def forward_cached(
    params: Params,
    config: Config,
    tokens: jax.Array,
    cache: Cache,
    mask: jax.Array | None = None,
    *,
    last_only: bool = False,
) -> tuple[jax.Array, Cache]:
    """Append `tokens` `[B, T]` to a cache and return the logits of the new positions and the grown cache.

    logits: float32 `[B, T, V]`, or `[B, 1, V]` of the last column with `last_only` (prefill of left-padded prompts).
    The caller makes sure that the cache has T free slots: a compiled program cannot raise.
    """
    x, cache = hidden_cached(params, config, tokens, cache, mask)
    return unembed(params, config, x[:, -1:] if last_only else x), cache


def hidden_cached(
    params: Params,
    config: Config,
    tokens: jax.Array,
    cache: Cache,
    mask: jax.Array | None = None,
    *,
    positions: jax.Array | None = None,
    seen: jax.Array | None = None,
) -> tuple[jax.Array, Cache]:
    """`forward_cached` before the unembedding: the normalised hidden states `[B, T, hidden]` and the grown cache.

    For several continuations of one text in one row: positions, int32 `[B, T]`, of the new tokens, by default after
    those of the cache, pads not counted; seen, bool `[B or 1, T, P + S]`, which slots a token may see, shared ones
    first, among those that are valid and no later than itself.
    """
    mask = jnp.ones(tokens.shape, bool) if mask is None else mask
    if positions is None:
        positions = positions_of(mask) + key_slots(cache)[1].sum(axis=-1, keepdims=True, dtype=jnp.int32)
    cache = cache._replace(
        positions=write(cache.positions, positions, cache.index), valid=write(cache.valid, mask, cache.index)
    )
    x, slots = _run_layers(
        unroll(params),
        config,
        _embed(params, config, tokens, positions),
        _views(config, positions, *key_slots(cache), seen=seen),
        slots=tuple((k, v, cache.shared_slots(i)) for i, (k, v) in enumerate(zip(cache.keys, cache.values))),
        index=cache.index,
    )
    keys, values, _ = zip(*slots)
    return x, cache._replace(keys=keys, values=values, index=cache.index + tokens.shape[1])


def unembed(params: Params, config: Config, x: jax.Array) -> jax.Array:
    """Logits float32 `[..., V]` of normalised hidden states `[..., hidden]`."""
    if config.tie_embeddings:
        logits = x @ _outside(params, config, "embed_tokens", x)["embedding"].astype(x.dtype).T
    else:
        logits = dot(_outside(params, config, "lm_head", x)["kernel"], x)
    logits = logits.astype(jnp.float32)
    if config.logit_softcap is None:
        return logits
    return config.logit_softcap * jnp.tanh(logits / config.logit_softcap)


def _embed(params: Params, config: Config, tokens: jax.Array, positions: jax.Array) -> jax.Array:
    x = jnp.take(_outside(params, config, "embed_tokens", tokens)["embedding"], tokens, axis=0)
    if config.embedding_scale != 1:
        x = x * jnp.asarray(config.embedding_scale, x.dtype)
    if config.learned_positions:  # "fill" is NaN: a position that the model does not have must show
        table = _outside(params, config, "embed_positions", tokens)["embedding"]
        x = x + jnp.take(table, positions, axis=0, mode="fill")
    return x


def _outside(params: Params, config: Config, name: str, x: jax.Array) -> Params:
    """The parameters of a module that is no layer, as they are used on `x`."""
    return gathered({name: params[name]}, config, x)[name]


def _views(
    config: Config, queries: jax.Array, keys: jax.Array, valid: jax.Array, seen: jax.Array | None = None
) -> dict[int | None, View]:
    """What the layers of each distinct attention window know of positions."""
    full = own = rope.rotation(config, queries)
    if config.window_rope_theta is not None and any(config.windows):
        own = rope.rotation(config, queries, window=True)

    def visible(window: int | None) -> jax.Array:
        causal = causal_mask(queries, keys, valid, window)
        return causal if seen is None else causal & seen[:, None]

    return {w: View(own if w else full, visible(w)) for w in dict.fromkeys(config.windows)}


def _run_layers(
    params: Params,
    config: Config,
    x: jax.Array,
    views: dict[int | None, View],
    *,
    slots: Any = None,
    index: Any = None,
    remat: bool = False,
) -> tuple[jax.Array, Any]:
    """The layers and the last norm. Where views differ in a scan, each layer picks its own by an index."""

    start = jax.lax.stop_gradient(x)

    def block(layer: Params, x: jax.Array, view: View, kind: Any, slots: Any) -> tuple[jax.Array, Any]:
        if kind is not None:  # in here and not outside, so that remat keeps an index for each layer and not a mask
            view = jax.tree.map(lambda v: v[kind], view)
        return Block(config).apply({"params": gathered(layer, config, start)}, x, view, slots, index)

    block = jax.checkpoint(block) if remat else keep_stored(block)
    layers = params["layers"]
    if isinstance(layers, tuple):
        grown = []
        for i, layer in enumerate(layers):
            x, new = block(layer, x, views[config.windows[i]], None, None if slots is None else slots[i])
            grown.append(new)
        slots = tuple(grown)
    elif len(views) == 1:
        [view] = views.values()
        x, _ = jax.lax.scan(lambda x, layer: (block(layer, x, view, None, None)[0], None), x, layers)
    else:
        stacked = jax.tree.map(lambda *v: jnp.stack(v), *views.values())
        kinds = jnp.asarray([list(views).index(w) for w in config.windows], jnp.int32)
        x, _ = jax.lax.scan(lambda x, each: (block(each[0], x, stacked, each[1], None)[0], None), x, (layers, kinds))
    normed: Any = Norm(config).apply({"params": params["norm"]}, x)
    return normed, slots
