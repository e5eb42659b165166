"""One layer of the decoder, in thin Flax linen modules: everything that depends on the `Config` of a family."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from seal_jax.adapters.weights import dot
from seal_jax.models import rope
from seal_jax.models.attention import attend, attend_cached
from seal_jax.models.cache import write
from seal_jax.models.config import Config
from seal_jax.runtime.constraints import split_keys

_gelu_tanh = partial(jax.nn.gelu, approximate=True)
_gelu = partial(jax.nn.gelu, approximate=False)
# By the names that `config.json` uses; several stand for one function.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "gelu": _gelu,
    "gelu_python": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_accurate": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_python_tanh": _gelu_tanh,
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "hardswish": jax.nn.hard_swish,
    "mish": jax.nn.mish,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "linear": lambda x: x,
}


class View(NamedTuple):
    """What a layer knows of positions; layers with the same attention window share one.

    rotation: cosines and sines of `rope.rotation`, None where nothing turns; mask: bool `[B, 1, T, S]`.
    """

    rotation: rope.Rotation | None
    mask: jax.Array


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


class Norm(_Layer):
    """Norm over the last axis, computed in float32: `config.norm` is "rms", or "layer" with mean and bias."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = self.config
        y = x.astype(jnp.float32)
        if c.norm == "layer":
            y = y - jnp.mean(y, axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + c.norm_eps)
        scale = self.weight("scale", nn.initializers.constant(1.0 - c.norm_offset), (x.shape[-1],)).astype(jnp.float32)
        scale = scale + c.norm_offset if c.norm_offset else scale
        y = y * jnp.broadcast_to(scale, y.shape)
        if c.norm == "layer":
            bias = self.weight("bias", nn.initializers.zeros, (x.shape[-1],))
            y = y + jnp.broadcast_to(bias.astype(jnp.float32), y.shape)
        return y.astype(x.dtype)


class Attention(nn.Module):
    """Grouped-query self-attention of one layer, over its own tokens or over a cache."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, view: View, slots: Any, index: Any) -> tuple[jax.Array, Any]:
        c = self.config
        q, k, v = _query_key_value(c, x)
        if c.qk_norm:
            q, k = Norm(c, name="q_norm")(q), Norm(c, name="k_norm")(k)
        if view.rotation is not None:
            q, k = rope.rotate(q, *view.rotation), rope.rotate(k, *view.rotation)
        scale = (c.query_scalar or c.head_dim) ** -0.5
        if slots is None:
            y = attend(q, k, v, view.mask, scale=scale, softcap=c.attention_softcap)
        else:
            *own, shared = slots
            own = tuple(split_keys(write(o, new, index), c) for o, new in zip(own, (k, v)))
            keys, values = own[0].astype(q.dtype), own[1].astype(q.dtype)
            y = attend_cached(q, keys, values, view.mask, shared, scale=scale, softcap=c.attention_softcap)
            slots = (*own, shared)
        y = y.reshape(*y.shape[:-2], c.num_heads * c.head_dim)
        return Linear(c.hidden_size, c.output_bias, name="o_proj")(y), slots


def _query_key_value(c: Config, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Query `[B, T, num_heads, head_dim]`, key and value `[B, T, num_kv_heads, head_dim]` of `x` `[B, T, hidden]`."""
    if c.fused_qkv:
        y = Linear(c.num_heads * 3 * c.head_dim, c.qkv_bias, name="query_key_value")(x)
        y = y.reshape(*y.shape[:-1], c.num_heads, 3, c.head_dim)
        return y[..., 0, :], y[..., 1, :], y[..., 2, :]

    def project(name: str, heads: int) -> jax.Array:
        y = Linear(heads * c.head_dim, c.qkv_bias, name=name)(x)
        return y.reshape(*y.shape[:-1], heads, c.head_dim)

    return project("q_proj", c.num_heads), project("k_proj", c.num_kv_heads), project("v_proj", c.num_kv_heads)


class MLP(nn.Module):
    """Feed-forward block: `down(act(up(x)))`, or gated `down(act(gate(x)) * up(x))`."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = self.config
        act = ACTIVATIONS[c.activation]
        if c.gated_mlp:
            gate = act(Linear(c.intermediate_size, c.mlp_bias, name="gate_proj")(x))
            y = gate * Linear(c.intermediate_size, c.mlp_bias, name="up_proj")(x)
        else:
            y = act(Linear(c.intermediate_size, c.mlp_bias, name="up_proj")(x))
        return Linear(c.hidden_size, c.mlp_bias, name="down_proj")(y)


class Block(nn.Module):
    """One layer: attention and MLP, each added to the residual stream `[B, T, hidden]` as `config.residual` says."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, view: View, slots: Any, index: Any) -> tuple[jax.Array, Any]:
        c = self.config
        y, slots = Attention(c, name="self_attn")(Norm(c, name="input_layernorm")(x), view, slots, index)
        if c.residual == "parallel":
            return x + y + MLP(c, name="mlp")(Norm(c, name="post_attention_layernorm")(x)), slots
        if c.residual == "sequential":
            x = x + y
            return x + MLP(c, name="mlp")(Norm(c, name="post_attention_layernorm")(x)), slots
        x = x + Norm(c, name="post_attention_layernorm")(y)
        y = MLP(c, name="mlp")(Norm(c, name="pre_feedforward_layernorm")(x))
        return x + Norm(c, name="post_feedforward_layernorm")(y), slots
