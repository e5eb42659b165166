"""The library's own programs, traced on shapes alone: nothing is allocated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seal_jax import models, training
from seal_jax.data.packing import edit_lengths
from seal_jax.generation import decode, engine
from seal_jax.generation.bank import Bank
from seal_jax.generation.generate import order_of
from seal_jax.generation.prefix import padded_length
from seal_jax.generation.prompts import bucket
from seal_jax.plan import inputs
from seal_jax.plan.settings import Settings
from seal_jax.runtime.mesh import row_groups


class Traced(NamedTuple):
    """A program before compilation.

    stage: of `jax.jit(f).trace(...)`; branch_shares: how often each branch of the choice of a step's length is taken;
    trips: of loops whose end is up to the data, at most.
    """

    name: str
    stage: Any
    branch_shares: tuple[float, ...] = ()
    trips: int = 1


Build: TypeAlias = Callable[[Any], Traced]
"""Traces one program, given the one before it compiled (None for the first), whose outputs may be its inputs."""


def programs(settings: Settings, config: models.Config, edits: int, mesh: Mesh) -> list[Build]:
    """The programs of an experiment with N edits, in the order in which they run."""
    make = {"inner_loop": _inner_loop, "generation": _generation}[settings.experiment]
    return make(settings, config, edits, mesh)


def _inner_loop(settings: Settings, config: models.Config, edits: int, mesh: Mesh) -> list[Build]:
    """`training.finetune_batch` as `seal.inner_loop` calls it: lines, then the passage, in every epoch."""
    length = max(settings.length, settings.line_length)
    lengths = edit_lengths(settings.epochs, settings.lines, settings.line_length, length)
    shape = (edits, len(lengths), settings.batch_size, length)
    kinds = {"tokens": jnp.int32, "mask": jnp.bool_, "loss_mask": jnp.bool_}
    batches = {name: jax.ShapeDtypeStruct(shape, kind) for name, kind in kinds.items()}
    each = jax.ShapeDtypeStruct((edits,), jnp.int32)  # as the library's own caller has them: placed by the compiler

    def finetune(params: Any, adapters_: Any, batches: Any, steps: Any, seed: Any) -> Any:
        hyper = training.Hyper(learning_rate=1e-3, steps=steps, seed=seed)
        loss = training.lm_loss(remat=settings.remat)
        return training.finetune_batch(
            params, config, adapters_, batches, hyper, loss_fn=loss, lengths=lengths, unrolled=False
        )

    def build(_: Any) -> Traced:
        params = inputs.abstract_params(config, mesh)
        adapters_ = inputs.abstract_adapters(config, settings, edits, mesh)
        traced = jax.jit(finetune, donate_argnums=1).trace(params, adapters_, inputs.leading(batches, mesh), each, each)
        counts = np.unique(lengths, return_counts=True)[1]
        return Traced("finetune_batch", traced, tuple(float(n) / len(lengths) for n in counts))

    return [build]


def _generation(settings: Settings, config: models.Config, edits: int, mesh: Mesh) -> list[Build]:
    """What `generate_batch` runs: prefill and the first tokens, then, if there are more, the last continuation.

    Those between them are smaller than the last one.
    """
    params = inputs.abstract_params(config, mesh, unrolled=True)
    bank = Bank(inputs.abstract_adapters(config, settings, edits, mesh)) if edits else None
    order = order_of(config, (0.0, None, 1.0), (), (), None, {}, "scaled")
    spread = 1 if bank else row_groups(mesh)
    rows = max(edits, 1) * -(-bucket(settings.prompts) // spread) * spread
    shape = (rows, padded_length(settings.prompt_tokens, None))
    prompts = [jax.ShapeDtypeStruct(shape, kind) for kind in (jnp.int32, jnp.bool_)]
    limits = jax.ShapeDtypeStruct((rows,), jnp.int32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows))
    job = jax.eval_shape(lambda limits, keys: engine.job_of(limits, keys, order), limits, keys)
    arguments = (params, bank, (), None, *prompts, None, job)
    rooms = _rooms(settings.new_tokens)

    def start(_: Any) -> Traced:
        traced = decode.start.trace(*arguments, program=order.program, room=rooms[0])
        return Traced(f"prefill and {rooms[0]} tokens", traced, trips=rooms[0] - 1)

    def resume(started: Any) -> Traced:
        before, room = rooms[-2:]
        shapes = jax.eval_shape(partial(decode.start, program=order.program, room=before), *arguments)
        place = lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)  # noqa: E731
        state, _ = jax.tree.map(place, shapes, started.output_shardings)
        traced = decode.resume.trace(params, bank, (), state, job, program=order.program, room=room)
        return Traced(f"tokens {before + 1} to {room}", traced, trips=room - before)

    return [start, resume] if len(rooms) > 1 else [start]


def _rooms(most: int) -> list[int]:
    """New tokens that the cache has room for, program after program, as `generation.engine` grows it."""
    rooms = [min(engine.SEGMENT, bucket(most, least=8))]
    while most > rooms[-1]:
        rooms.append(min(2 * rooms[-1], bucket(most)))
    return rooms
