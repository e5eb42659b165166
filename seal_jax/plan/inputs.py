"""The arguments of the library's programs as shapes, placed on a mesh as the library places the arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seal_jax import adapters, models, training
from seal_jax.models import sizes
from seal_jax.plan.settings import Settings
from seal_jax.runtime.mesh import ROWS
from seal_jax.runtime.placement import adapters_spec, param_spec

DTYPE = jnp.bfloat16  # of the base weights; adapters and their optimizer state are float32


class Sizes(NamedTuple):
    """Numbers and bytes of the parameters, of all N adapters, and of their optimizer states."""

    parameters: int
    parameter_bytes: int
    adapter_parameters: int
    adapter_bytes: int
    optimizer_bytes: int


def abstract_params(config: models.Config, mesh: Mesh | None = None, unrolled: bool = False) -> Any:
    """The parameters in bf16, placed as `from_pretrained(mesh=)` places them; without a mesh, shapes alone."""
    params = sizes.abstract_params(config, DTYPE)
    if unrolled:
        params = jax.eval_shape(models.unroll, params)
    return params if mesh is None else _placed(params, mesh, config, param_spec)


def abstract_adapters(config: models.Config, settings: Settings, edits: int, mesh: Mesh | None = None) -> Any:
    """N LoRA adapters in float32, placed as `shard_adapters` places them."""
    fresh = partial(adapters.lora.init, params=abstract_params(config), rank=settings.rank, targets=settings.targets)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), edits))
    stacked = jax.eval_shape(jax.vmap(fresh), keys)
    return stacked if mesh is None else _placed(stacked, mesh, config, adapters_spec)


def sizes_of(settings: Settings, config: models.Config, edits: int) -> Sizes:
    """What there is of parameters, adapters and optimizer state."""
    params = abstract_params(config)
    stacked = abstract_adapters(config, settings, edits) if edits else {}
    optimizer: Any = ()
    if settings.experiment == "inner_loop":
        begin = lambda adapter: training.begin(adapter, training.Hyper(1e-3, 1)).optimizer  # noqa: E731
        optimizer = jax.eval_shape(jax.vmap(begin), stacked)
    return Sizes(sizes.count(params), _bytes(params), sizes.count(stacked), _bytes(stacked), _bytes(optimizer))


def leading(tree: Any, mesh: Mesh) -> Any:
    """Shapes placed as `runtime.mesh.shard_leading` places arrays."""
    return jax.tree.map(lambda x: _on(mesh, x, PartitionSpec(ROWS)), tree)


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _placed(tree: Any, mesh: Mesh, config: models.Config, rule: Callable[..., PartitionSpec]) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, x: _on(mesh, x, rule(path, x, mesh, config)), tree)


def _on(mesh: Mesh, x: Any, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))
