"""DER and DER++ for language models: replayed rows keep the largest logits of their targets."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seal_jax import adapters, models
from seal_jax.continual import replay
from seal_jax.continual.losses import CURRENT, LABELS, LOGITS, top_logits
from seal_jax.continual.method import Method, Rows, Scene, State, row_weights
from seal_jax.continual.methods.parts import batch_of, ended_by, memory_of, remembered
from seal_jax.continual.methods.rehearsing import offered
from seal_jax.training.trainable import AttachFn

NAME, IDS, KEPT, PLACE = "dark", "topk_ids", "topk_logits", "place"


def dark_language(
    method: Method,
    config: models.Config,
    policy: replay.Policy,
    rows: int,
    k: int = 32,
    *,
    attach_fn: AttachFn = adapters.attach,
    chunk: int = 8,
    seed: Any = 0,
) -> Method:
    """`method` for the problem `language.problem(..., losses.der_loss(alpha, beta))`.

    A step has its new rows, `rows` with stored logits and, drawn apart, `rows` with labels. Logits, the k largest for
    each token, are stored when a task ends: `8 * k * T` bytes a row. chunk: stored rows whose logits are computed at
    once. policy, seed: as in `methods.rehearsing`.
    """

    def memory(params: Any, row: Any) -> dict[str, Any]:
        shape = (row["tokens"].shape[0], k)
        kept = {IDS: jax.ShapeDtypeStruct(shape, jnp.int32), KEPT: jax.ShapeDtypeStruct(shape, jnp.float32)}
        return {**memory_of(method, params, row), NAME: policy.init({**row, **kept}, seed)}

    def batch(memory: dict[str, Any], new: Rows, key: jax.Array) -> Rows:
        own, first, second = jax.random.split(key, 3)
        new = batch_of(method, memory, new, own)
        made = [_with_role({**new, "rows": row_weights(new), **_no_logits(new, k)}, CURRENT)]
        for draw, role in ((first, LOGITS), (second, LABELS)):
            drawn = replay.sample(memory[NAME], draw, rows)
            made.append(_with_role({**drawn.items, "rows": drawn.valid.astype(jnp.float32)}, role))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *made)

    def end_task(state: State, scene: Scene) -> State:
        held = state.memory[NAME]
        logits = {name: held.items[name] for name in (IDS, KEPT)}
        # The logits' place stands for them while rows are offered: those of all rows of a task may be many gigabytes.
        plain = {name: x for name, x in held.items.items() if name not in logits}
        places = jnp.arange(len(held.task), dtype=jnp.int32)
        new = {**scene.rows, PLACE: jnp.full_like(scene.rows["tokens"][:, 0], -1)}
        kept = offered(policy, held._replace(items={**plain, PLACE: places}), scene, new)
        place = kept.items[PLACE]
        plain = {name: kept.items[name] for name in plain}
        frozen = scene.problem.frozen
        attached = attach_fn(frozen["params"], state.params, frozen["factors"])

        def top(row: Rows) -> tuple[jax.Array, jax.Array]:
            found = top_logits(attached, config, jax.tree.map(lambda x: x[None], dict(row)), k)
            return found[0][0], found[1][0]

        fresh = dict(zip((IDS, KEPT), jax.lax.map(top, plain, batch_size=chunk)))
        stored = {
            n: jnp.where((place < 0)[:, None, None], x, logits[n][jnp.maximum(place, 0)]) for n, x in fresh.items()
        }
        return ended_by(method, remembered(state, NAME, kept._replace(items={**plain, **stored})), scene)

    return method._replace(memory=memory, batch=batch, end_task=end_task)


def _no_logits(rows: Rows, k: int) -> dict[str, jax.Array]:
    shape = (*rows["tokens"].shape, k)
    return {IDS: jnp.zeros(shape, jnp.int32), KEPT: jnp.zeros(shape, jnp.float32)}


def _with_role(batch: dict[str, Any], role: int) -> dict[str, Any]:
    return {**batch, "role": jnp.full(batch["tokens"].shape, role, jnp.int32)}
