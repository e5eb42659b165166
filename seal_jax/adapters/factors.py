"""The singular value decompositions of chosen kernels: one matrix at a time, placed where the kernels are."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import NamedSharding

from seal_jax.adapters.attach import Adapter, Entry
from seal_jax.adapters.targets import Targets, select
from seal_jax.runtime.placement import factor_specs


def factor(params: Any, targets: Targets = ("mlp",), rank: int | None = None) -> Adapter:
    """Reduced SVD of every targeted kernel: `{path: {"u" [L, in, k], "s" [L, k], "vt" [L, k, out]}}`.

    Computed in float32, one layer's matrix at a time, on the devices of the kernel; `s` stays float32, `u` and `vt`
    take the dtype of the kernel and, on a mesh, are split as `runtime.placement` has it. targets: as in `select`, on
    any nested dict of arrays; kernels `[in, out]` give factors without the axis L.
    rank: keep only this many of the largest singular values (None: all, k = min(in, out)); `discarded_energy` tells
    what that leaves out, and `attach` keeps it in the base. Raises ValueError for a rank under 1.
    """
    return {path: factor_kernel(kernel, rank) for path, kernel in select(params, targets).items()}


def factor_kernel(kernel: jax.Array, rank: int | None = None) -> Entry:
    """`{"u", "s", "vt"}` of one kernel `[in, out]` or `[L, in, out]`; see `factor`."""
    place, factors = open_factors(kernel, rank)
    if kernel.ndim == 2:
        return place(factors, kernel, None)
    for layer in range(len(kernel)):
        factors = place(factors, kernel, layer)
    return factors


Place = Callable[[Entry, Any, Any], Entry]


def open_factors(kernel: jax.Array, rank: int | None) -> tuple[Place, Entry]:
    """Zeros for the factors of a kernel, where they will be, and what fills in the factors of one layer of it.

    It takes the factors (whose memory the result has), the kernel (or an entry, already factored), and the layer.
    """
    kinds = _shapes(kernel, rank)
    shardings = _shardings(kernel, kinds)
    empty = {
        name: jnp.zeros(kind.shape, kind.dtype, device=None if shardings is None else shardings[i])
        for i, (name, kind) in enumerate(kinds.items())
    }
    return _placing(shardings), empty


def shapes(params: Any, targets: Targets = ("mlp",), rank: int | None = None) -> Any:
    """What `factor` will return, as shapes and dtypes, of parameters or of their shapes (`jax.eval_shape`)."""
    return {path: _shapes(kernel, rank) for path, kernel in select(params, targets).items()}


def size_of(tree: Any) -> int:
    """Bytes that the arrays of a tree take, or will take: of factors, of their `shapes`."""
    return sum(x.size * jnp.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))


def discarded_energy(params: Any, factors: Adapter) -> dict[str, jax.Array]:
    """The share of each kernel's squared Frobenius norm that its factors leave out: `{path: float32 [L]}`.

    0, up to rounding, for factors of full rank. params: those that were factored.
    """
    kernels = select(params, list(factors))
    return {path: _left_out(kernels[path], entry["s"]) for path, entry in factors.items()}


def _shapes(kernel: Any, rank: int | None) -> dict[str, jax.ShapeDtypeStruct]:
    if rank is not None and rank < 1:
        raise ValueError(f"rank={rank}: keep 1 singular value or more, or None for all of them")
    *stack, fan_in, fan_out = kernel.shape
    k = min(fan_in, fan_out, rank or fan_in)
    u, s, vt = (*stack, fan_in, k), (*stack, k), (*stack, k, fan_out)
    return {
        "u": jax.ShapeDtypeStruct(u, kernel.dtype),
        "s": jax.ShapeDtypeStruct(s, jnp.float32),
        "vt": jax.ShapeDtypeStruct(vt, kernel.dtype),
    }


def _shardings(kernel: Any, kinds: dict[str, jax.ShapeDtypeStruct]) -> tuple[NamedSharding, ...] | None:
    """Where u, s and vt go, of a kernel on a mesh."""
    sharding = None if isinstance(kernel, Tracer) else getattr(kernel, "sharding", None)
    if not isinstance(sharding, NamedSharding):
        return None
    specs = factor_specs(sharding.spec, len(kernel.shape), kinds["s"].shape[-1], sharding.mesh)
    return tuple(NamedSharding(sharding.mesh, spec) for spec in specs)


@lru_cache(maxsize=64)
def _placing(shardings: tuple[NamedSharding, ...] | None) -> Place:
    # One program for each kind of kernel; without the shardings the compiler would choose where the result lives.
    out = None if shardings is None else dict(zip(("u", "s", "vt"), shardings))
    return jax.jit(_placed, donate_argnums=0, out_shardings=out)


def _placed(factors: Entry, kernel: Any, layer: Any) -> Entry:
    new = kernel if isinstance(kernel, dict) else _factored(kernel if layer is None else kernel[layer])
    new = {name: new[name][..., : factors["s"].shape[-1]] for name in ("u", "s")} | {
        "vt": new["vt"][: factors["s"].shape[-1]]
    }
    new = {name: new[name].astype(x.dtype) for name, x in factors.items()}
    if layer is None:
        return new
    return {name: jax.lax.dynamic_update_index_in_dim(x, new[name], layer, 0) for name, x in factors.items()}


def _factored(matrix: jax.Array) -> Entry:
    u, s, vt = jnp.linalg.svd(matrix.astype(jnp.float32), full_matrices=False)
    return {"u": u, "s": s, "vt": vt}


@jax.jit
def _left_out(kernel: jax.Array, s: jax.Array) -> jax.Array:
    whole = jnp.square(kernel.astype(jnp.float32)).sum((-2, -1))
    return jnp.maximum(1.0 - jnp.square(s).sum(-1) / whole, 0.0)
