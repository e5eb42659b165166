"""What a stream of tasks is learned with: the problem, and the method that protects what was learned before.

Everything here is functions of arrays, called inside of compiled programs, so that a method can be mapped over seeds
and settings with `vmap`. `methods` has those that are known; a new one is a function that returns a `Method`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from seal_jax.training.trainable import join, trainable

Rows: TypeAlias = Mapping[str, Any]


class Problem(NamedTuple):
    """What is trained, whatever the model. `problem(params, batch, key)` is its loss.

    loss: `(frozen, params, batch, key) -> float32 []`, the mean over a batch, a dict of arrays `[B, ...]`. Where it
    has the entry `"rows"`, float32 `[B]`, a row counts that much: rows of a memory that is still empty count 0.
    frozen: arrays that are not trained, shared by all lanes: a base model. logits: `(frozen, params, batch) -> [B, ...,
    V]`, for the methods that compare them. weight: `(batch) -> float32 []`, what a part of a batch counts for when
    gradients are accumulated (None: parts are alike).
    """

    loss: Callable[[Any, Any, Rows, jax.Array], jax.Array]
    frozen: Any = ()
    logits: Callable[[Any, Any, Rows], jax.Array] | None = None
    weight: Callable[[Rows], jax.Array] | None = None

    def __call__(self, params: Any, batch: Rows, key: jax.Array) -> jax.Array:
        """The loss of one batch: float32 `[]`."""
        return self.loss(self.frozen, params, batch, key)

    def predicted(self, params: Any, batch: Rows) -> jax.Array:
        """The logits of one batch. ValueError for a problem without them."""
        if self.logits is None:
            raise ValueError("this method compares logits: give the Problem its function logits(frozen, params, batch)")
        return self.logits(self.frozen, params, batch)


class State(NamedTuple):
    """A learner between two steps: a pytree of arrays.

    params: an adapter tree, all weights, or any other tree; of LoRA entries `a` and `b` are trained. optimizer: the
    state of `Method.tx`, of `training.trainable(params)`; memory: what the method keeps besides, by name.
    """

    params: Any
    optimizer: Any
    memory: dict[str, Any]


class Scene(NamedTuple):
    """What a method may read at the beginning and the end of a task.

    rows: the task's training data, dict of arrays `[n, ...]`, of which the first `count` (int32 `[]`) are real;
    batches: the first of the training batches, dict of arrays `[K, B, ...]`; task: int32 `[]`; key: for this task and
    moment.
    """

    problem: Problem
    rows: Rows
    count: jax.Array
    batches: Rows
    task: jax.Array
    key: jax.Array


class Method(NamedTuple):
    """How to learn one task after another. All functions are pure and traceable; `Method(tx)` is plain training.

    tx: the optimizer, regularizers and projections in it. memory: `(params, row) -> dict`, what is kept besides, made
    once; `row` has the shapes of one row of training data. batch: `(memory, batch, key) -> batch`, for rows to be added
    or replaced. loss: `(problem, params, batch, memory, key) -> float32 []` in place of the problem's. extras:
    `(problem, params, memory, key) -> dict`, extra arguments of `tx.update`. begin_task, end_task: `(state, scene) ->
    state` of the same structure. reset: start each task with fresh moments and schedules (`reset_moments`).
    compiled: False runs `end_task` as plain Python, on arrays that can be looked at: importances are then checked, and
    functions like `layer_inputs` can be called. Not with lanes. check: `(state, tasks) -> None`, called once before
    anything is trained with the first state, of which only shapes are known, and the number of tasks, to raise what a
    compiled program cannot: too little room.
    """

    tx: optax.GradientTransformation
    memory: Callable[[Any, Any], dict[str, Any]] | None = None
    batch: Callable[[dict[str, Any], Rows, jax.Array], Rows] | None = None
    loss: Callable[[Problem, Any, Rows, dict[str, Any], jax.Array], jax.Array] | None = None
    extras: Callable[[Problem, Any, dict[str, Any], jax.Array], dict[str, Any]] | None = None
    begin_task: Callable[[State, Scene], State] | None = None
    end_task: Callable[[State, Scene], State] | None = None
    reset: bool = False
    compiled: bool = True
    check: Callable[[State, int], None] | None = None


MakeMethod: TypeAlias = Callable[[Any], Method]
"""Makes a method from settings, a tree of arrays: traced ones where several are run side by side."""


def gradient(problem: Problem, params: Any, batch: Rows, key: jax.Array) -> Any:
    """The gradient of the problem's loss with respect to what is trained: a tree like `training.trainable(params)`."""
    return jax.grad(lambda trained: problem(join(trained, params), batch, key))(trainable(params))


def row_weights(batch: Rows) -> jax.Array:
    """`batch["rows"]`, or ones: float32 `[B]`."""
    if "rows" in batch:
        return batch["rows"]
    return jnp.ones(jnp.shape(jax.tree.leaves(dict(batch))[0])[:1], jnp.float32)
