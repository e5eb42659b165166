"""Generation: jitted prefill and decode, batched over prompts and over adapters."""

from seal_jax.generation.generate import Output, generate, generate_batch
from seal_jax.generation.sampling import Sampling, filter_logits

__all__ = ["Output", "Sampling", "filter_logits", "generate", "generate_batch"]
