"""Transformer-squared (arXiv 2501.06252): singular-value experts, trained by reward, chosen at run time."""

from seal_jax.transformer2.tasks import Task, prompt_ids

__all__ = ["Task", "prompt_ids"]
