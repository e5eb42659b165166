"""What `continual_synthetic` compares: methods as functions of one strength, and the grids to choose it from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from seal_jax import continual
from seal_jax.continual import demo, methods, projections, replay
from seal_jax.continual.method import MakeMethod, Method, Problem, Scene, State
from seal_jax.continual.run import Evaluate
from seal_jax.continual.task_stream import Task
from seal_jax.data.worlds import permuted

RATE = 1e-3
SHAPE = permuted.Shape()
STREAM = SHAPE.tasks * SHAPE.train
ONE, THREE, TEN = (round(STREAM * share) for share in (0.01, 0.03, 0.1))
ROWS = 64  # of a step, and replayed ones beside them
RANK, COLUMNS = 12, 12 * (SHAPE.tasks - 1)
FISHER = methods.logits_fisher_importance("gnb")
BASE = demo.init(10_000, SHAPE)
"""The frozen network that O-LoRA adapts, one for all seeds."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """make: of a strength, float32 `[]`; grid: the strengths to choose from, one if there is nothing to choose."""

    make: MakeMethod
    grid: tuple[float, ...] = (0.0,)
    problem: Problem = demo.PROBLEM
    start: Callable[[int], Any] = lambda seed: demo.init(seed, SHAPE)
    tasks: Callable[[Sequence[Task]], Sequence[Task]] = lambda tasks: tasks
    evaluate: Evaluate = demo.evaluate


def adam(*after: optax.GradientTransformation, rate: float = RATE) -> optax.GradientTransformation:
    """Adam, and what comes after it."""
    return optax.chain(optax.adam(rate), *after)


def ewc(lam: Any) -> Method:
    """EWC with every task's anchor, on the scale of the paper."""
    return methods.consolidating(Method(adam(continual.ewc(lam, RATE))), FISHER, normalize=False)


def online_ewc(lam: Any) -> Method:
    """EWC with the latest anchor, importances of mean 1."""
    return methods.consolidating(Method(adam(continual.online_ewc(lam, RATE))), FISHER)


def replayed(size: int) -> MakeMethod:
    """A plain reservoir of `size` rows of the stream."""
    return lambda _: methods.rehearsing(Method(adam()), replay.Reservoir(size), ROWS)


def inputs(state: State, scene: Scene) -> dict[str, jax.Array]:
    """What each layer was multiplied with, of 300 rows of the task."""
    return demo.forward(state.params, scene.rows["x"][:300])[1]


def gpm(threshold: Any) -> Method:
    """GPM, before Adam as published and after it, so that updates keep out of the bases."""
    tx = optax.chain(continual.gpm(101), optax.adam(RATE), continual.gpm(101))
    return methods.spanning(Method(tx), inputs, threshold)


def olora(lam: Any) -> Method:
    """A fresh LoRA of rank 12 for each task on a frozen random network; `lam` 0 is a plain stack."""
    tx = optax.chain(continual.olora(lam, COLUMNS), optax.adam(3e-3))
    return methods.stacking(Method(tx), fresh, last=SHAPE.tasks - 1)


def fresh(key: jax.Array) -> Any:
    """A LoRA adapter of every layer of the frozen network."""
    return demo.adapter(key, BASE, RANK)


ADAPTED: dict[str, Any] = {
    "problem": Problem(demo.adapted_loss, BASE),
    "start": lambda seed: projections.room(fresh(jax.random.key(seed)), COLUMNS),
    "evaluate": demo.evaluate_adapter(BASE),
}

TABLE: dict[str, Entry] = {
    "naive": Entry(lambda _: Method(adam())),
    "naive, moments reset": Entry(lambda _: Method(adam(), reset=True)),
    "L2-SP": Entry(lambda s: methods.consolidating(Method(adam(continual.l2_sp(s, RATE)))), (1.0, 3.0, 10.0, 20.0)),
    "EWC, all anchors": Entry(ewc, (250.0, 500.0, 1000.0, 2000.0, 4000.0)),
    "EWC, latest anchor": Entry(online_ewc, (1.0, 3.0, 6.0, 10.0, 20.0)),
    "SI": Entry(lambda s: methods.consolidating(Method(continual.si(optax.adam(RATE), s, RATE))), (1.0, 2.0, 4.0, 8.0)),
    "MAS": Entry(
        lambda s: methods.consolidating(Method(adam(continual.mas(s, RATE))), methods.output_importance()),
        (0.3, 1.0, 2.0, 4.0, 8.0),
    ),
    "A-GEM": Entry(
        lambda _: methods.remembering(
            Method(optax.chain(continual.agem(), optax.adam(RATE))), replay.Reservoir(THREE), ROWS
        )
    ),
    "GEM": Entry(
        lambda _: methods.remembering(
            Method(optax.chain(continual.gem(SHAPE.tasks), optax.adam(RATE))),
            replay.Ring(THREE - THREE % SHAPE.tasks, SHAPE.tasks),
            THREE // SHAPE.tasks,
            SHAPE.tasks,
        )
    ),
    "GPM": Entry(gpm, (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)),
    "LoRA, stacked": Entry(olora, **ADAPTED),
    "O-LoRA": Entry(olora, (1.0, 10.0, 100.0, 300.0, 1000.0), **ADAPTED),
    "LwF": Entry(lambda s: methods.distilling(Method(adam()), s), (0.1, 0.3, 0.6, 1.0, 2.0)),
    "DER++, 3 %": Entry(
        lambda s: methods.dark(Method(adam()), replay.Reservoir(THREE), ROWS, (SHAPE.classes,), s, 1.0),
        (0.1, 0.3, 1.0, 3.0),
    ),
    "replay, 1 %": Entry(replayed(ONE)),
    "replay, 3 %": Entry(replayed(THREE)),
    "replay, 10 %": Entry(replayed(TEN)),
    "replay, 1 %, and EWC": Entry(
        lambda s: methods.rehearsing(online_ewc(s), replay.Reservoir(ONE), ROWS), (0.3, 1.0, 3.0, 6.0, 10.0)
    ),
    "joint": Entry(lambda _: Method(adam()), tasks=demo.joined),
}


def starts(entry: Entry, seeds: Sequence[int]) -> Any:
    """Where each lane starts: a tree with a leading axis N."""
    return jax.tree.map(lambda *x: jnp.stack(x), *[entry.start(seed) for seed in seeds])
