"""SEAL on ARC (arXiv 2506.10943, section 4.2): self-edits that configure test-time training on a few-shot task."""

from seal_jax.seal.arc.accept import Draws, accept_responses, adapter_texts
from seal_jax.seal.arc.edits import edit_prompt, instruction, limit_steps, parse_edit
from seal_jax.seal.arc.schema import EditConfig, Limits, Refused
from seal_jax.seal.arc.vote import Prediction, vote

__all__ = [
    "Draws",
    "EditConfig",
    "Limits",
    "Prediction",
    "Refused",
    "accept_responses",
    "adapter_texts",
    "edit_prompt",
    "instruction",
    "limit_steps",
    "parse_edit",
    "vote",
]
