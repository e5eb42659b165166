"""What a weight is: anything `dot` accepts.

A model never asks how a kernel is stored. It calls `dot(w, x)`, and `w` is either an array or one of the leaves
below, whose `base` may again be any weight. A new kind is one dataclass here and one row in
`tests/adapters/test_weights.py::WEIGHTS`.

Kernels are laid out `[in, out]`. All fields are arrays with the same leading axes as the kernel they stand for, so
that a stack of layers can be scanned, sliced and vmapped: no scalars, no static hyper-parameters.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import struct

Weight: TypeAlias = Any  # jax.Array or one of the leaves below; recursive unions are not worth their noise here


@struct.dataclass
class LoRA:
    """`W + a @ b` (arXiv 2106.09685). `attach` has already folded `alpha / rank` into `b`.

    base: weight `[..., in, out]`; a: `[..., in, rank]`; b: `[..., rank, out]`.
    """

    base: Weight
    a: jax.Array
    b: jax.Array


@struct.dataclass
class SVF:
    """`u diag(s * z) vt` (arXiv 2501.06252, eq. 1). Any rescaling has already been folded into `z`.

    u: `[..., in, k]`; s, z: `[..., k]` float32; vt: `[..., k, out]`.
    """

    u: jax.Array
    s: jax.Array
    vt: jax.Array
    z: jax.Array


@struct.dataclass
class SVFMix:
    """`u diag(s * (alpha @ zs)) vt`: K experts mixed in z-space.

    u: `[..., in, k]`; s: `[..., k]`; vt: `[..., k, out]`; zs: `[..., K, k]`; alpha: `[..., K]`.
    """

    u: jax.Array
    s: jax.Array
    vt: jax.Array
    zs: jax.Array
    alpha: jax.Array


@struct.dataclass
class SVFResidual:
    """`base + u diag(delta) vt`: an SVF expert as what it adds. Zero `delta` is the base, bit for bit.

    base: weight `[..., in, out]`; u: `[..., in, k]`; delta: `[..., k]` float32, what is added to each singular value;
    vt: `[..., k, out]`. k may be less than min(in, out): what a truncated factorisation left out stays in the base.
    """

    base: Weight
    u: jax.Array
    delta: jax.Array
    vt: jax.Array


@struct.dataclass
class SVFComposed:
    """The array `composed`, which is `base + u diag(delta) vt` for some base, with a gradient for `delta` alone.

    composed: `[..., in, out]`, already computed; u: `[..., in, k]`; delta: `[..., k]` float32; vt: `[..., k, out]`.
    The gradient of the array is reduced to that of `delta` within the layer that made it, so a stack of dense
    gradients `[L, in, out]` never exists; base, u and vt have none.
    """

    composed: jax.Array
    u: jax.Array
    delta: jax.Array
    vt: jax.Array


KINDS = (LoRA, SVF, SVFMix, SVFResidual, SVFComposed)


def shape_of(w: Weight) -> tuple[int, ...]:
    """Shape `[..., in, out]` of the array that a weight stands for; nothing is computed."""
    return jax.eval_shape(dense, w).shape


def is_weight(x: Any) -> bool:
    """True for the leaves of this module: the `is_leaf` of every tree map that treats a weight as one thing."""
    return isinstance(x, KINDS)


@singledispatch
def dot(w: Weight, x: jax.Array) -> jax.Array:
    """`x @ w` in the dtype of `x`: x `[..., in]` float, w `[in, out]` -> `[..., out]`."""
    return x @ w.astype(x.dtype)


@dot.register
def _(w: LoRA, x: jax.Array) -> jax.Array:
    # Same as mixed-precision training elsewhere: float32 factors, product in the activation dtype.
    return dot(w.base, x) + (x @ w.a.astype(x.dtype)) @ w.b.astype(x.dtype)


@dot.register
def _(w: SVF, x: jax.Array) -> jax.Array:
    return _factored(w.u, w.s * w.z, w.vt, x)


@dot.register
def _(w: SVFMix, x: jax.Array) -> jax.Array:
    return _factored(w.u, w.s * _mixed(w), w.vt, x)


@dot.register
def _(w: SVFResidual, x: jax.Array) -> jax.Array:
    return dot(w.base, x) + _factored(w.u, w.delta, w.vt, x)


@dot.register
def _(w: SVFComposed, x: jax.Array) -> jax.Array:
    return x @ dense(w).astype(x.dtype)


def _factored(u: jax.Array, sigma: jax.Array, vt: jax.Array, x: jax.Array) -> jax.Array:
    # bfloat16 would collapse neighbouring singular values, so the scaling itself stays in float32.
    projected = (x @ u.astype(x.dtype)).astype(sigma.dtype)
    return (projected * jnp.broadcast_to(sigma, projected.shape)).astype(x.dtype) @ vt.astype(x.dtype)


def _mixed(w: SVFMix) -> jax.Array:
    return jnp.einsum("...e,...ek->...k", w.alpha, w.zs)


@singledispatch
def dense(w: Weight) -> jax.Array:
    """The array `[..., in, out]` that a single weight stands for."""
    return w


@dense.register
def _(w: LoRA) -> jax.Array:
    base = dense(w.base)
    return (base.astype(jnp.float32) + _matmul(w.a, w.b, base.dtype)).astype(base.dtype)


@dense.register
def _(w: SVF) -> jax.Array:
    return _compose(w.u, w.s * w.z, w.vt)


@dense.register
def _(w: SVFMix) -> jax.Array:
    return _compose(w.u, w.s * _mixed(w), w.vt)


@dense.register
def _(w: SVFResidual) -> jax.Array:
    return _shifted(dense(w.base), w.u, w.delta, w.vt)


@dense.register
def _(w: SVFComposed) -> jax.Array:
    return _known(w.composed, w.u, w.delta, w.vt)


def _compose(u: jax.Array, sigma: jax.Array, vt: jax.Array) -> jax.Array:
    return _matmul(u.astype(jnp.float32) * sigma[..., None, :], vt, u.dtype).astype(u.dtype)


def _shifted(base: jax.Array, u: jax.Array, delta: jax.Array, vt: jax.Array) -> jax.Array:
    change = _matmul(u.astype(jnp.float32) * delta[..., None, :], vt, base.dtype)
    return (base.astype(jnp.float32) + change).astype(base.dtype)


@jax.custom_vjp
def _known(composed: jax.Array, u: jax.Array, delta: jax.Array, vt: jax.Array) -> jax.Array:
    return composed


def _known_forward(composed: jax.Array, u: jax.Array, delta: jax.Array, vt: jax.Array) -> tuple[jax.Array, Any]:
    return composed, (u, vt)


def _known_backward(factors: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[None, None, jax.Array, None]:
    u, vt = factors
    projected = _matmul(grad, jnp.swapaxes(vt, -1, -2), grad.dtype)
    return None, None, (u.astype(jnp.float32) * projected).sum(-2), None


_known.defvjp(_known_forward, _known_backward)


def composed(w: SVFResidual) -> SVFComposed:
    """The same weight with its array computed: `[L, in, out]` layer by layer, of which the transient is float32."""
    of = jax.lax.stop_gradient((dense(w.base), w.u, w.delta, w.vt))
    array = jax.lax.map(lambda layer: _shifted(*layer), of) if of[0].ndim > 2 else _shifted(*of)
    return SVFComposed(array, w.u, w.delta, w.vt)


def _matmul(x: jax.Array, y: jax.Array, kept: Any) -> jax.Array:
    """The product in float32, exact to the precision of the dtype `kept`, to which it is going to be rounded."""
    # By default accelerators multiply float32 in fewer bits, which a merged weight would keep for good.
    precision = "highest" if kept == jnp.float32 else "high"
    return jnp.matmul(x.astype(jnp.float32), y.astype(jnp.float32), precision=precision)


def materialize(tree: Any) -> Any:
    """Replace every adapted weight in a tree by the plain array it stands for.

    The oracle of every adapter test, and the path to merging and to export. Arrays pass through unchanged.
    """
    return jax.tree.map(dense, tree, is_leaf=is_weight)
