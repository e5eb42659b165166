"""One decoder for all model families, in thin Flax linen.

The modules describe a single layer; the stack is plain JAX over `params["layers"]`, whose leaves are `[L, ...]`.
Whether the stack is scanned or unrolled is a choice of the program and shows in the tree: stacked leaves are scanned,
a tuple of per-layer trees (see `unroll`) is a Python loop. Both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from seal_jax.adapters.weights import dot
from seal_jax.models import rope
from seal_jax.models.attention import attend, attend_cached, causal_mask, positions_of
from seal_jax.models.cache import Cache, key_slots, write
from seal_jax.models.config import Config

Params = dict[str, Any]
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_pytorch_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}


class _Layer(nn.Module):
    """Base of the modules below: a parameter that may be any weight."""

    def weight(self, name: str, init: Callable[..., jax.Array], shape: tuple[int, ...]) -> Any:
        # linen's own `param` compares only the first array of an adapted weight with the shape, so a stored
        # weight is taken as it is; `attach` and the loaders have checked its shape.
        if self.has_variable("params", name):
            return self.get_variable("params", name)
        return self.param(name, init, shape)


class Linear(_Layer):
    """`dot(kernel, x) + bias`: `[..., in] -> [..., features]`."""

    features: int
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.weight("kernel", nn.initializers.normal(0.02), (x.shape[-1], self.features))
        y = dot(kernel, x)
        if self.use_bias:
            bias = self.weight("bias", nn.initializers.zeros, (self.features,))
            y = y + jnp.broadcast_to(bias.astype(y.dtype), y.shape)
        return y


class RMSNorm(_Layer):
    """Root-mean-square norm over the last axis, computed in float32."""

    eps: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.weight("scale", nn.initializers.ones, (x.shape[-1],))
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + self.eps)
        return (y * jnp.broadcast_to(scale.astype(jnp.float32), y.shape)).astype(x.dtype)


class Attention(nn.Module):
    """Grouped-query self-attention of one layer, over its own tokens or over a cache."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, rotation: Any, mask: jax.Array, slots: Any, index: Any) -> tuple[jax.Array, Any]:
        c = self.config
        split = lambda y, heads: y.reshape(*y.shape[:-1], heads, c.head_dim)  # noqa: E731
        q = split(Linear(c.num_heads * c.head_dim, c.qkv_bias, name="q_proj")(x), c.num_heads)
        k = split(Linear(c.num_kv_heads * c.head_dim, c.qkv_bias, name="k_proj")(x), c.num_kv_heads)
        v = split(Linear(c.num_kv_heads * c.head_dim, c.qkv_bias, name="v_proj")(x), c.num_kv_heads)
        if c.qk_norm:
            q = RMSNorm(c.norm_eps, name="q_norm")(q)
            k = RMSNorm(c.norm_eps, name="k_norm")(k)
        q, k = rope.rotate(q, *rotation), rope.rotate(k, *rotation)
        if slots is None:
            y = attend(q, k, v, mask)
        else:
            *own, shared = slots
            own = (write(own[0], k, index), write(own[1], v, index))
            y = attend_cached(q, own[0].astype(q.dtype), own[1].astype(q.dtype), mask, shared)
            slots = (*own, shared)
        y = y.reshape(*y.shape[:-2], c.num_heads * c.head_dim)
        return Linear(c.hidden_size, c.output_bias, name="o_proj")(y), slots


class MLP(nn.Module):
    """Gated feed-forward block: `down(act(gate(x)) * up(x))`."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = self.config
        gate = Linear(c.intermediate_size, c.mlp_bias, name="gate_proj")(x)
        up = Linear(c.intermediate_size, c.mlp_bias, name="up_proj")(x)
        return Linear(c.hidden_size, c.mlp_bias, name="down_proj")(ACTIVATIONS[c.activation](gate) * up)


class Block(nn.Module):
    """One pre-norm layer: attention and MLP, each added to the residual stream `[B, T, hidden]`."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, rotation: Any, mask: jax.Array, slots: Any, index: Any) -> tuple[jax.Array, Any]:
        eps = self.config.norm_eps
        normed = RMSNorm(eps, name="input_layernorm")(x)
        y, slots = Attention(self.config, name="self_attn")(normed, rotation, mask, slots, index)
        x = x + y
        y = MLP(self.config, name="mlp")(RMSNorm(eps, name="post_attention_layernorm")(x))
        return x + y, slots


@partial(jax.jit, static_argnames=("config", "dtype"))
def init(key: jax.Array, config: Config, dtype: Any = jnp.float32) -> Params:
    """Random parameters with stacked layers `[L, ...]`; normal(0.02) kernels, unit norms, zero biases.

    One compiled program: drawn in float32 and cast, without a float32 copy of the whole model.
    """
    keys = jax.random.split(key, config.num_layers + 2)
    x = jnp.zeros((1, 1, config.hidden_size), jnp.float32)
    positions = jnp.zeros((1, 1), jnp.int32)
    mask = jnp.ones((1, 1, 1, 1), bool)

    def layer(key: jax.Array) -> Params:
        variables: Any = Block(config).init(key, x, rope.rotation(config, positions), mask, None, None)
        return variables["params"]

    normal = nn.initializers.normal(0.02)
    params: Params = {
        "embed_tokens": {"embedding": normal(keys[0], (config.vocab_size, config.hidden_size), jnp.float32)},
        "layers": jax.vmap(layer)(keys[2:]),
        "norm": {"scale": jnp.ones((config.hidden_size,), jnp.float32)},
    }
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
    masks = _masks(config, positions, positions, mask, unrolled=isinstance(params["layers"], tuple))
    x, _ = _run_layers(params, config, _embed(params, tokens), rope.rotation(config, positions), masks, remat=remat)
    return x


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
    mask = jnp.ones(tokens.shape, bool) if mask is None else mask
    offset = key_slots(cache)[1].sum(axis=-1, keepdims=True, dtype=jnp.int32)
    positions = positions_of(mask) + offset
    cache = cache._replace(
        positions=write(cache.positions, positions, cache.index), valid=write(cache.valid, mask, cache.index)
    )
    params = unroll(params)
    masks = _masks(config, positions, *key_slots(cache), unrolled=True)
    x, slots = _run_layers(
        params,
        config,
        _embed(params, tokens),
        rope.rotation(config, positions),
        masks,
        slots=tuple((k, v, cache.shared_slots(i)) for i, (k, v) in enumerate(zip(cache.keys, cache.values))),
        index=cache.index,
    )
    keys, values, _ = zip(*slots)
    cache = cache._replace(keys=keys, values=values, index=cache.index + tokens.shape[1])
    return unembed(params, config, x[:, -1:] if last_only else x), cache


def unembed(params: Params, config: Config, x: jax.Array) -> jax.Array:
    """Logits float32 `[..., V]` of normalised hidden states `[..., hidden]`."""
    if config.tie_embeddings:
        logits = x @ params["embed_tokens"]["embedding"].astype(x.dtype).T
    else:
        logits = dot(params["lm_head"]["kernel"], x)
    return logits.astype(jnp.float32)


def _embed(params: Params, tokens: jax.Array) -> jax.Array:
    return jnp.take(params["embed_tokens"]["embedding"], tokens, axis=0)


def _masks(config: Config, queries: jax.Array, keys: jax.Array, valid: jax.Array, *, unrolled: bool) -> Any:
    """One attention mask per layer: a tuple that shares equal ones, or one array where windows differ in a scan."""
    distinct = {w: causal_mask(queries, keys, valid, w) for w in dict.fromkeys(config.windows)}
    if unrolled or len(distinct) == 1:
        return tuple(distinct[w] for w in config.windows)
    return jnp.stack([distinct[w] for w in config.windows])


def _run_layers(
    params: Params,
    config: Config,
    x: jax.Array,
    rotation: Any,
    masks: Any,
    *,
    slots: Any = None,
    index: Any = None,
    remat: bool = False,
) -> tuple[jax.Array, Any]:
    def block(layer: Params, x: jax.Array, mask: jax.Array, slots: Any) -> tuple[jax.Array, Any]:
        return Block(config).apply({"params": layer}, x, rotation, mask, slots, index)

    if remat:
        block = jax.checkpoint(block)
    layers = params["layers"]
    if isinstance(layers, tuple):
        grown = []
        for i, layer in enumerate(layers):
            x, new = block(layer, x, masks[i], None if slots is None else slots[i])
            grown.append(new)
        slots = tuple(grown)
    elif isinstance(masks, tuple):  # all layers share one mask
        x, _ = jax.lax.scan(lambda x, layer: (block(layer, x, masks[0], None)[0], None), x, layers)
    else:
        x, _ = jax.lax.scan(lambda x, lm: (block(lm[0], x, lm[1], None)[0], None), x, (layers, masks))
    normed: Any = RMSNorm(config.norm_eps).apply({"params": params["norm"]}, x)
    return normed, slots
