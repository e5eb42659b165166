"""Transformer-squared (arXiv 2501.06252): singular-value experts, trained by reward, chosen at run time."""

from seal_jax.transformer2 import reinforce, supervised
from seal_jax.transformer2.attempts import Attempt, accuracy, attempt
from seal_jax.transformer2.tasks import Task
from seal_jax.transformer2.train import Trained, train_expert

__all__ = [
    "Attempt",
    "Task",
    "Trained",
    "accuracy",
    "attempt",
    "reinforce",
    "supervised",
    "train_expert",
]
