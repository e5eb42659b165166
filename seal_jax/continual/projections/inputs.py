"""What goes into each layer of a decoder: samples for `extend_basis`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from seal_jax import adapters, models
from seal_jax.adapters.weights import Weight, dense, dot
from seal_jax.runtime.mesh import mesh_of, use


@struct.dataclass
class Tapped:
    """`base`, and the gradient of any result with respect to `record` is what `base` was multiplied with.

    Hence it works wherever gradients do: in a scan over layers, under `vmap`, on a mesh. base: weight `[..., in, out]`;
    rows: int32 `[..., n]`, which of the flattened `[B * T]` inputs; record: float32 `[..., n, in]`, of any values.
    """

    base: Weight
    rows: jax.Array
    record: jax.Array


@dot.register
def _(w: Tapped, x: jax.Array) -> jax.Array:
    return dot(w.base, _noted(x, w.rows, w.record))


@dense.register
def _(w: Tapped) -> jax.Array:
    return dense(w.base)


@jax.custom_vjp
def _noted(x: jax.Array, rows: jax.Array, record: jax.Array) -> jax.Array:
    return x


def _noted_forward(x: jax.Array, rows: jax.Array, record: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x, x.reshape(-1, x.shape[-1])[rows].astype(jnp.float32)


def _noted_backward(seen: jax.Array, gradient: jax.Array) -> tuple[jax.Array, None, jax.Array]:
    return gradient, None, seen


_noted.defvjp(_noted_forward, _noted_backward)


def layer_inputs(
    params: models.Params,
    config: models.Config,
    batch: Mapping[str, Any],
    key: jax.Array,
    targets: Sequence[str] = ("all",),
    samples: int = 256,
    adapter: adapters.Adapter | None = None,
    factors: Any = None,
) -> dict[str, jax.Array]:
    """What each kernel of `targets` was multiplied with at some tokens of a batch: `{path: float32 [L, samples, in]}`.

    batch: `{"tokens" int32 [B, T], "mask" bool [B, T]}`, concrete. The tokens are drawn from all but pads, without
    replacement; if there are fewer than `samples`, the rest are zeros, which add nothing to a basis. targets: as
    `adapters.lora.init` takes them. adapter, with its factors: of the model that is asked. For the basis of an
    adapter's `a`, name the inputs `f"{path}/a"`. Parameters are stacked or unrolled. Compiled once per shape.
    """
    paths = tuple(adapters.select(jax.eval_shape(models.stack, params), targets))
    rows, real = _drawn(np.asarray(batch["mask"]), key, samples)
    batch = {name: jnp.asarray(batch[name]) for name in ("tokens", "mask")}
    with use(mesh_of(params)):
        found = _compiled(params, adapter or {}, factors, batch, jnp.asarray(rows), config=config, paths=paths)
    return {path: x * real.reshape(*[1] * (x.ndim - 2), -1, 1) for path, x in found.items()}


@partial(jax.jit, static_argnames=("config", "paths"))
def _compiled(
    params: Any,
    adapter: Any,
    factors: Any,
    batch: Any,
    rows: jax.Array,
    *,
    config: models.Config,
    paths: tuple[str, ...],
) -> dict[str, jax.Array]:
    def result(records: dict[str, jax.Array]) -> jax.Array:
        tapped = params
        for path, record in records.items():
            tapped = _tapped(tapped, path.split("/"), rows, record)
        attached = adapters.attach(tapped, adapter, factors) if adapter else tapped
        return models.hidden_states(attached, config, batch["tokens"], batch["mask"]).astype(jnp.float32).sum()

    shapes = adapters.select(jax.eval_shape(models.stack, params), paths)
    records = {path: jnp.zeros((*x.shape[:-2], len(rows), x.shape[-2]), jnp.float32) for path, x in shapes.items()}
    return jax.grad(result)(records)


def _tapped(tree: Any, parts: list[str], rows: jax.Array, record: jax.Array) -> Any:
    if not parts:
        return Tapped(tree, jnp.broadcast_to(rows, record.shape[:-1]), record)
    if isinstance(tree, tuple):
        return tuple(_tapped(layer, parts, rows, record[i]) for i, layer in enumerate(tree))
    return {**tree, parts[0]: _tapped(tree[parts[0]], parts[1:], rows, record)}


def _drawn(mask: np.ndarray, key: jax.Array, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the flattened tokens are looked at, int32 `[samples]`, and 1 for those, 0 for places to spare."""
    real = np.flatnonzero(mask)
    if samples < 1 or not len(real):
        raise ValueError(f"samples={samples} of {len(real)} tokens: one of each at least is needed")
    chosen = np.asarray(jax.random.permutation(key, real))[:samples]
    spare = samples - len(chosen)
    return np.pad(chosen, (0, spare)).astype(np.int32), np.pad(np.ones(len(chosen), np.float32), (0, spare))
