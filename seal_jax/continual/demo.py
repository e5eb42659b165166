"""The stream of `data.worlds.permuted` as a problem for `run`: a small multi-layer perceptron with one head."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax import adapters
from seal_jax.adapters import dot
from seal_jax.continual.method import Problem, Rows, row_weights
from seal_jax.continual.task_stream import Task
from seal_jax.data.worlds import permuted

HIDDEN = (100, 100)


def init(seed: int, shape: permuted.Shape, hidden: Sequence[int] = HIDDEN) -> dict[str, Any]:
    """Fresh weights: `{"layer_0": {"kernel" [features + 1, hidden]}, ...}`, the last row of a kernel is the bias."""
    widths = (shape.features, *hidden, shape.classes)
    keys = jax.random.split(jax.random.key(seed), len(widths) - 1)

    def kernel(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
        weights = math.sqrt(2.0 / fan_in) * jax.random.normal(key, (fan_in, fan_out), jnp.float32)
        return jnp.concatenate([weights, jnp.zeros((1, fan_out), jnp.float32)])

    return {f"layer_{i}": {"kernel": kernel(k, *widths[i : i + 2])} for i, k in enumerate(keys)}


def forward(params: dict[str, Any], x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Logits `[B, classes]` for x `[B, features]`, and what each kernel was multiplied with, `[B, in]`, by its path."""
    inputs = {}
    for index in range(len(params)):
        x = x if index == 0 else jax.nn.relu(x)
        x = jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=-1)
        inputs[f"layer_{index}/kernel"] = x
        x = dot(params[f"layer_{index}"]["kernel"], x)
    return x, inputs


def logits(frozen: Any, params: dict[str, Any], batch: Rows) -> jax.Array:
    """Logits of a batch `{"x" [B, features]}`: float32 `[B, classes]`."""
    del frozen
    return forward(params, batch["x"])[0]


def loss(frozen: Any, params: dict[str, Any], batch: Rows, key: jax.Array) -> jax.Array:
    """Mean cross entropy of a batch `{"x", "labels" int32 [B]}`, float32 `[]`."""
    del key
    return cross_entropy(logits(frozen, params, batch), batch)


def cross_entropy(found: jax.Array, batch: Rows) -> jax.Array:
    """The mean over rows that count, in nats: float32 `[]`."""
    chosen = jnp.take_along_axis(found, batch["labels"][:, None], axis=-1)[:, 0]
    weights = row_weights(batch)
    return (weights * (jax.nn.logsumexp(found, axis=-1) - chosen)).sum() / jnp.maximum(weights.sum(), 1.0)


PROBLEM = Problem(loss, logits=logits)


def tasks(seeds: Sequence[int], shape: permuted.Shape) -> list[Task]:
    """The tasks of one stream for each seed, side by side: training arrays and test rows lead with N."""
    streams = [permuted.stream(seed, shape) for seed in seeds]

    def rows(part: str, task: int) -> dict[str, np.ndarray]:
        found = [getattr(s, part) for s in streams]
        return {"x": np.stack([f.x[task] for f in found]), "labels": np.stack([f.y[task] for f in found])}

    return [Task(f"permutation {t}", rows("train", t), rows("test", t)) for t in range(shape.tasks)]


def joined(stream: Sequence[Task]) -> list[Task]:
    """All tasks as one, for the upper bound: training and test rows of all."""
    parts = ([t.train for t in stream], [t.test for t in stream])
    train, test = ({name: np.concatenate([p[name] for p in of], axis=1) for name in of[0]} for of in parts)
    return [Task("joint", train, test)]


@jax.jit
def accuracy(params: Any, test: Rows) -> jax.Array:
    """Share of right answers of N models on rows of their own: float32 `[N]`."""

    def one(params: Any, test: Rows) -> jax.Array:
        return (logits((), params, test).argmax(axis=-1) == test["labels"]).mean(dtype=jnp.float32)

    return jax.vmap(one)(params, test)


def evaluate(params: Any, task: Task) -> jax.Array:
    """For `run`: `accuracy` on a task's test rows."""
    return accuracy(params, task.test)


def evaluate_adapter(base: dict[str, Any]) -> Callable[[Any, Task], jax.Array]:
    """`evaluate` of adapters of one frozen network."""
    attached = jax.jit(lambda params: jax.vmap(lambda p: adapters.materialize(adapters.attach(base, p)))(params))
    return lambda params, task: evaluate(attached(params), task)


def adapter(key: jax.Array, base: dict[str, Any], rank: int) -> Any:
    """A fresh LoRA adapter of every kernel `[in, out]`: `{path: {"a" [in, rank], "b" [rank, out], "scale" []}}`."""

    def entry(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        fan_in, fan_out = kernel.shape
        a = jax.random.normal(key, (fan_in, rank), jnp.float32) / math.sqrt(fan_in)
        return {"a": a, "b": jnp.zeros((rank, fan_out), jnp.float32), "scale": jnp.ones((), jnp.float32)}

    keys = jax.random.split(key, len(base))
    return {f"{name}/kernel": entry(k, base[name]["kernel"]) for k, name in zip(keys, sorted(base))}


def adapted_loss(frozen: dict[str, Any], params: Any, batch: Rows, key: jax.Array) -> jax.Array:
    """`loss` of a frozen network with an adapter."""
    return loss((), adapters.attach(frozen, params), batch, key)
