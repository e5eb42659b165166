"""Merging weights: averages of checkpoints, per layer or over a stream; task arithmetic, TIES, DARE; LoRA adapters."""

from seal_jax.continual.merge.adapters import METHODS, Merged, flattened, merge_adapters
from seal_jax.continual.merge.average import (
    average,
    ema,
    hierarchical,
    hierarchical_alphas,
    interpolate,
    running_mean,
)
from seal_jax.continual.merge.task_vectors import dare, task_arithmetic, ties

__all__ = [
    "METHODS",
    "Merged",
    "average",
    "dare",
    "ema",
    "flattened",
    "hierarchical",
    "hierarchical_alphas",
    "interpolate",
    "merge_adapters",
    "running_mean",
    "task_arithmetic",
    "ties",
]
