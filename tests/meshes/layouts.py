"""One model, its programs, and four layouts of eight devices: what the tests in this folder share."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import jax
import numpy as np

from seal_jax import adapters, models, training
from seal_jax.runtime import mesh as meshes
from seal_jax.runtime.collectives import collectives
from seal_jax.runtime.placement import shard_adapters, shard_params

# Sizes all different, so that a shape tells what an array is. Per device: 2 of 4 layouts halve heads, MLP and words.
CONFIG = models.Config("llama", 80, 32, 48, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8, max_position=64)
LAYOUTS = {"data": "data=8", "fsdp": "fsdp=8", "model": "data=4,model=2", "all": "data=2,fsdp=2,model=2"}
N, STEPS, ROWS, LENGTH, RANK = 8, 2, 8, 12, 4
HYPER = training.Hyper(1e-2, STEPS)


class Inputs(NamedTuple):
    """params, stacked; rows `[8, 12]` of one forward; N adapters and their batches; batches `[2, 8, 12]` of one."""

    params: Any
    rows: Any
    many: Any
    batches: Any
    one: Any
    batch: Any


def inputs() -> Inputs:
    """Everything on one device (or the host)."""
    params = models.init(jax.random.key(0), CONFIG)
    rng = np.random.default_rng(0)

    def batch(*shape: int) -> dict[str, np.ndarray]:
        mask = np.arange(LENGTH) < rng.integers(6, LENGTH + 1, (*shape, 1))
        return {"tokens": rng.integers(1, CONFIG.vocab_size, (*shape, LENGTH), np.int32), "mask": mask}

    fresh = lambda key: adapters.lora.init(key, params, RANK, 8, ("all",))  # noqa: E731
    many = jax.vmap(fresh)(jax.random.split(jax.random.key(1), N))
    return Inputs(params, batch(ROWS), many, batch(N, STEPS, 1), fresh(jax.random.key(2)), batch(STEPS, ROWS))


def placed(given: Inputs, layout: str) -> Inputs:
    """The same on a mesh."""
    mesh = meshes.make_mesh(LAYOUTS[layout])
    return Inputs(
        shard_params(given.params, mesh, CONFIG),
        meshes.shard_leading(given.rows, mesh),
        shard_adapters(given.many, mesh, CONFIG),
        meshes.shard_leading(given.batches, mesh),
        shard_params(given.one, mesh, CONFIG),
        meshes.shard_rows(given.batch, mesh),
    )


forward = jax.jit(models.forward, static_argnums=1)


def said(compiled: Any) -> Counter[tuple[str, int, str]]:
    """How often a program yields which array from which kind of collective, in how many loops.

    XLA joins collectives of the same kind into one with several results; counted by result, it does not matter which.
    """
    found = collectives(compiled.as_text())
    return Counter((c.kind, c.loops, shape) for c in found for shape in c.shapes)
