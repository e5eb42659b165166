"""SEAL (arXiv 2506.10943): models that write their own fine-tuning data and learn to write it better."""

from seal_jax.seal import answers, edits, inner_loop, knowledge, policy, rest_em, reward, settings, study
from seal_jax.seal.settings import Settings

__all__ = [
    "Settings",
    "answers",
    "edits",
    "inner_loop",
    "knowledge",
    "policy",
    "rest_em",
    "reward",
    "settings",
    "study",
]
