"""Transformer-squared (arXiv 2501.06252): singular-value experts, trained by reward, chosen at run time."""

from seal_jax.transformer2.attempts import Attempt, accuracy, attempt
from seal_jax.transformer2.tasks import Task

__all__ = ["Attempt", "Task", "accuracy", "attempt"]
