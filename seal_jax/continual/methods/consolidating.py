"""Regularizers: at the end of each task, parameters and importances go into the optimizer's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from seal_jax.continual.importance.fisher import logits_fisher
from seal_jax.continual.importance.sensitivity import output_sensitivity
from seal_jax.continual.method import Method, Scene, State
from seal_jax.continual.methods.parts import ended_by
from seal_jax.continual.task_end import consolidate
from seal_jax.training.trainable import join, trainable

Importance: TypeAlias = Callable[[State, Scene], Any]
"""A tree like what is trained, none of it negative."""


def consolidating(
    method: Method, importance: Importance | None = None, gamma: Any = 1.0, normalize: bool = True
) -> Method:
    """`method`, whose `tx` has EWC, online EWC, MAS, SI, L2-SP or RecAdam in it, with `consolidate` at tasks' ends.

    importance: for EWC and MAS, of the state at the end of the task; not for the others. gamma, normalize: as in
    `consolidate`.
    """

    def end_task(state: State, scene: Scene) -> State:
        found = None if importance is None else importance(state, scene)
        kept = consolidate(state.optimizer, trainable(state.params), found, gamma, normalize)
        return ended_by(method, state._replace(optimizer=kept), scene)

    return method._replace(end_task=end_task)


def logits_fisher_importance(estimator: str = "gnb", draws: int = 1) -> Importance:
    """The Fisher information from the problem's logits, see `logits_fisher`; a row has its label as "labels"."""

    def importance(state: State, scene: Scene) -> Any:
        predicted = lambda trained, batch: scene.problem.predicted(join(trained, state.params), batch)  # noqa: E731
        return logits_fisher(predicted, trainable(state.params), scene.batches, scene.key, estimator, draws=draws)

    return importance


def output_importance(per: str = "example") -> Importance:
    """The importance of MAS from the problem's logits, see `output_sensitivity`."""

    def importance(state: State, scene: Scene) -> Any:
        predicted = lambda trained, batch: scene.problem.predicted(join(trained, state.params), batch)  # noqa: E731
        return output_sensitivity(predicted, trainable(state.params), scene.batches, per)

    return importance
