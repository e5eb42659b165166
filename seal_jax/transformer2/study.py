"""A study of experts: each task learnt with singular values and with LoRA, from reward and from solutions, by seed.

The parts are functions of a `Study`, each made of stages of its run, so they can be run apart and resumed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax import adapters, models
from seal_jax.adapters import Adapter
from seal_jax.evaluation.matrix import known_error
from seal_jax.runtime import Run
from seal_jax.training.trainable import trainable
from seal_jax.transformer2 import reinforce, supervised
from seal_jax.transformer2.scores import verdicts
from seal_jax.transformer2.tasks import Task
from seal_jax.transformer2.train import Trained, train_expert
from seal_jax.transformer2.update import Attach, Program

INITIAL_MEAN = 0.1
"""Of raw parameters."""


@dataclasses.dataclass(frozen=True)
class RewardInLayers(reinforce.Settings):
    """Learning from reward in some layers of an adapter of singular values, and in no other."""

    layers: tuple[int, ...] = ()
    """The layers that learn; the rest stay the base's."""

    def program(self, config: models.Config) -> Program:
        """As that of all layers, but that the others get no gradient."""
        return super().program(config)._replace(attach_fn=AttachLayers(self.layers, Attach(self.compose)))


class AttachLayers(NamedTuple):
    """`Attach` that lets nothing be learnt in layers other than `layers`."""

    layers: tuple[int, ...]
    attach: Attach = Attach()

    def __call__(self, params: Any, adapter: Adapter, factors: Any = None) -> Any:
        """Parameters in which the kernels that `adapter` names are adapted."""
        held = lambda x: jnp.where(_rows(x, self.layers), x, jax.lax.stop_gradient(x))  # noqa: E731
        return self.attach(params, jax.tree.map(held, adapter), factors)


@dataclasses.dataclass(frozen=True)
class Arm:
    """A way to make an expert: how it is trained, on what kind of adapter ("svf" or "lora"), of which targets.

    rank: of LoRA, whose alpha is twice it. rates: learning rates that are tried, of which the validation split chooses
    for every task and seed; by default that of the settings.
    """

    settings: reinforce.Settings | supervised.Settings
    kind: Literal["svf", "lora"] = "svf"
    targets: tuple[str, ...] = ("mlp",)
    rank: int = 16
    rates: tuple[float, ...] = ()

    @property
    def layers(self) -> tuple[int, ...] | None:
        """The layers that learn, None for all."""
        return self.settings.layers if isinstance(self.settings, RewardInLayers) else None


class Study(NamedTuple):
    """What every part of a study is given: where results are kept, the base model, the tasks, one seed."""

    run: Run
    model: models.Model
    tasks: Mapping[str, Task]
    seed: int = 0


def train(study: Study, arm_name: str, arm: Arm, factors: Adapter | None = None) -> dict[str, Trained]:
    """An expert for every task, by task: stages `seed_N/ARM/TASK[/RATE]/...`. factors: of an arm of singular values."""
    found = {}
    for number, (name, task) in enumerate(study.tasks.items()):
        key = jax.random.fold_in(jax.random.key(study.seed), number)
        start = fresh(key, study.model.params, arm, factors)
        found[name] = _best(study, f"seed_{study.seed}/{arm_name}/{name}", task, arm, start, factors)
    return found


def _best(study: Study, stage: str, task: Task, arm: Arm, start: Adapter, factors: Adapter | None) -> Trained:
    """The expert of the learning rate with the best validation accuracy, the first of equals."""
    tried = []
    for rate in arm.rates or (arm.settings.learning_rate,):
        settings = dataclasses.replace(arm.settings, learning_rate=rate)
        how: dict[str, Any] = {"name": f"{stage}/{rate:g}" if arm.rates else stage, "seed": study.seed}
        tried.append(train_expert(study.run, study.model, start, factors, task, settings, **how))
    return max(tried, key=lambda one: one.best["accuracy"])


def fresh(key: jax.Array, params: Any, arm: Arm, factors: Adapter | None) -> Adapter:
    """The adapter that an arm starts from. Layers that do not learn have equal raw parameters: the base's."""
    if arm.kind == "lora":
        return adapters.lora.init(key, params, arm.rank, 2.0 * arm.rank, arm.targets)
    if factors is None:
        raise ValueError("an arm of singular values needs the factors of its targets")
    start = adapters.svf.init(key, factors, INITIAL_MEAN)
    if arm.layers is None:
        return start
    layers = arm.layers
    return jax.tree.map(lambda x: jnp.where(_rows(x, layers), x, INITIAL_MEAN), start)


def _rows(x: jax.Array, layers: Sequence[int]) -> np.ndarray:
    """bool `[L, 1, ...]`: which of the leading rows of x are of these layers."""
    return np.isin(np.arange(len(x)), layers).reshape(-1, *[1] * (x.ndim - 1))


def parameters(adapter: Adapter, arm: Arm) -> int:
    """How many numbers are trained."""
    leaves = jax.tree.leaves(trainable(adapter))
    return sum(x.size if arm.layers is None else x.size // len(x) * len(arm.layers) for x in leaves)


def base_verdicts(run: Run, model: models.Model, tasks: Mapping[str, Task], rows: int = 128) -> dict[str, list[bool]]:
    """The base model's grades on the test split of each task, by task: stage `base`."""
    return run.stage("base", lambda: {name: verdicts(model, t, t.test, rows=rows) for name, t in tasks.items()})


def over_seeds(by_seed: Sequence[Sequence[float | None]], base: Sequence[float | None]) -> dict[str, Any]:
    """Accuracy and its paired difference from `base`, from verdicts `[seeds][problems]` of the same problems.

    A problem that is ungraded (None) anywhere counts nowhere. Verdicts are averaged over seeds first, so `stderr` and
    `difference_stderr` are over problems; `seeds` has the accuracy of each one, and `seeds_stderr` is the standard
    error of their mean (None for one seed).
    """
    values, before = np.asarray(by_seed, float), np.asarray(base, float)
    graded = np.isfinite(values).all(0) & np.isfinite(before)
    values, before = values[:, graded], before[graded]
    mean, gain = values.mean(0), values.mean(0) - before
    return {
        "accuracy": float(mean.mean()),
        "stderr": known_error(mean),
        "difference": float(gain.mean()),
        "difference_stderr": known_error(gain),
        "seeds": values.mean(1).tolist(),
        "seeds_stderr": known_error(values.mean(1)) if len(values) > 1 else None,
        "problems": len(before),
    }
