"""Replay: memories of earlier examples that are pure functions of arrays, and batches mixed with what they hold."""

from seal_jax.continual.replay.balanced import Balanced
from seal_jax.continual.replay.examples import Examples
from seal_jax.continual.replay.memory import Drawn, Memory, Policy, filled, sample
from seal_jax.continual.replay.mixing import append, mix, mix_review_count, mixed_steps, replay_count, replay_steps
from seal_jax.continual.replay.reservoir import Reservoir
from seal_jax.continual.replay.ring import Ring

__all__ = [
    "Balanced",
    "Drawn",
    "Examples",
    "Memory",
    "Policy",
    "Reservoir",
    "Ring",
    "append",
    "filled",
    "mix",
    "mix_review_count",
    "mixed_steps",
    "replay_count",
    "replay_steps",
    "sample",
]
