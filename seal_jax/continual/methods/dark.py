"""DER and DER++: replayed rows keep the logits that the model had when they were stored."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seal_jax.continual import replay
from seal_jax.continual.losses import topk_mse
from seal_jax.continual.method import Method, Problem, Rows, Scene, State
from seal_jax.continual.methods.parts import ended_by, loss_of, memory_of, remembered
from seal_jax.continual.methods.rehearsing import offered

NAME, LOGITS = "dark", "stored_logits"


def dark(
    method: Method,
    policy: replay.Policy,
    rows: int,
    outputs: tuple[int, ...],
    alpha: Any = 0.3,
    beta: Any = 0.5,
    seed: Any = 0,
) -> Method:
    """`method` with `alpha` times the squared distance to stored logits and `beta` times the loss on stored rows.

    The two terms draw `rows` rows each from one memory, independently; beta=0 is DER. Logits are stored when a task
    ends. outputs: the shape of a row's logits. policy, seed: as in `rehearsing`. It needs the problem's logits.
    """

    def memory(params: Any, row: Any) -> dict[str, Any]:
        item = {**row, LOGITS: jax.ShapeDtypeStruct(outputs, jnp.float32)}
        return {**memory_of(method, params, row), NAME: policy.init(item, seed)}

    def loss(problem: Problem, params: Any, batch: Rows, memory: dict[str, Any], key: jax.Array) -> jax.Array:
        own, first, second, inside = jax.random.split(key, 4)
        total = loss_of(method, problem, params, batch, memory, own)
        drawn = replay.sample(memory[NAME], first, rows)
        count = drawn.valid.astype(jnp.float32)
        plain = {name: x for name, x in drawn.items.items() if name != LOGITS}
        near = topk_mse(problem.predicted(params, plain), None, drawn.items[LOGITS])
        again = replay.sample(memory[NAME], second, rows)
        labelled = {name: x for name, x in again.items.items() if name != LOGITS}
        return total + count[0] * (alpha * near + beta * problem(params, {**labelled, "rows": count}, inside))

    def end_task(state: State, scene: Scene) -> State:
        found = jax.lax.map(lambda row: _logits(scene.problem, state.params, row), dict(scene.rows), batch_size=256)
        kept = offered(policy, state.memory[NAME], scene, {**scene.rows, LOGITS: found})
        return ended_by(method, remembered(state, NAME, kept), scene)

    return method._replace(memory=memory, loss=loss, end_task=end_task)


def _logits(problem: Problem, params: Any, row: Rows) -> jax.Array:
    return problem.predicted(params, jax.tree.map(lambda x: x[None], row))[0].astype(jnp.float32)
