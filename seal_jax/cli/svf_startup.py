"""What a run on experts will take, said before weights are read and refused if it cannot fit."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from seal_jax.cli.startup import Opened
    from seal_jax.runtime.resources import Need


class Load(NamedTuple):
    """What a run holds at once.

    targets: of the experts' matrices; rank: of the factors, None for all; trained: numbers of the expert that is
    trained, 0 for none; adapters: numbers of all experts that are used; prompt, answer: tokens of the longest ones;
    rows: answers decoded at once; micro_batch, remat: of training.
    """

    targets: Any
    rank: int | None
    adapters: int
    prompt: int
    answer: int
    rows: int
    trained: int = 0
    micro_batch: int = 0
    remat: bool = False
    factored: bool = True


def announce_svf(opened: Opened, load: Load, dtype: str, out: pathlib.Path, cache: pathlib.Path | None) -> None:
    """Print parameters, factors, experts, mesh, estimated peak memory and disk on standard error.

    Raises DoesNotFitError, naming the number, for what a device or the disk cannot hold.
    """
    from seal_jax.adapters import svf
    from seal_jax.cli.startup import device_text
    from seal_jax.models import sizes
    from seal_jax.runtime import resources

    config, axes, size = opened.checkpoint.config, opened.axes, resources.gib
    params = sizes.abstract_params(config, dtype)
    weights = sizes.weight_bytes(config, dtype, axes)
    stored = svf.size_of(svf.shapes(params, load.targets, load.rank)) if load.factored else 0
    needs = _needs(opened, load, dtype, weights, stored // (axes["fsdp"] * axes["model"]))
    disk = (stored if cache else 0) + 4 * 8 * load.trained
    available = resources.device_memory()
    warnings = resources.check_memory(needs, available)
    resources.check_disk(cache or out, disk, "the run")
    most = max(needs, key=lambda need: need.about)
    where = f"kept in {cache}" if cache else "computed at the start; --factors DIR keeps them"
    numbers = f"{load.trained:,} numbers are trained" if load.trained else f"{load.adapters:,} numbers in all"
    lines = [
        f"model: {config.model_type}, {sizes.count(params):,} parameters, {size(weights)} of {dtype} on each device",
        *([f"factors: {size(stored)}, {where}"] if stored else []),
        f"experts: {numbers}",
        f"mesh: {device_text(axes)}",
        f"memory: about {size(most.about)} on each device at the most ({most.name})"
        + (f", of {size(available)}" if available is not None else ""),
        f"disk: about {size(disk)}, of {size(resources.free_disk(cache or out))} free",
        *(f"warning: {warning}" for warning in warnings),
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _needs(opened: Opened, load: Load, dtype: str, weights: int, factors: int) -> list[Need]:
    """What decoding, and training if there is any, take on a device beside weights and factors, given in bytes."""
    import jax.numpy as jnp

    from seal_jax.models import sizes
    from seal_jax.runtime.resources import Need
    from seal_jax.training.loss import LOGITS_BYTES

    config = opened.checkpoint.config
    itemsize, spread = jnp.dtype(dtype).itemsize, opened.axes["data"] * opened.axes["fsdp"]
    length = min(load.prompt + load.answer, config.max_position)
    held = weights + factors
    sure = held + 4 * load.adapters
    cache = sizes.cache_bytes(config, -(-load.rows // spread), length, itemsize)
    # Factors are made of stacked layers, which are there until they are unrolled.
    advice = "a lower --rows, or --mesh with fsdp or model"
    needs = [Need("answering", sure, max(sure + cache, held + max(weights, factors)), advice)]
    if load.trained:
        rows = -(-load.micro_batch // spread)
        work = sizes.activation_bytes(config, rows, length, itemsize, load.remat)
        work += 2 * min(4 * rows * length * config.vocab_size, LOGITS_BYTES)
        state = held + 4 * 4 * load.trained
        needs.append(
            Need("training", state, state + work, "lower the micro-batch, remat, or --mesh with fsdp or model")
        )
    return needs
