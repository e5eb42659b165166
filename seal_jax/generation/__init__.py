"""Generation: jitted prefill and decode, batched over prompts and over adapters."""

from seal_jax.generation.bank import stack as stack_adapters
from seal_jax.generation.control import Controls
from seal_jax.generation.generate import Output, generate, generate_batch
from seal_jax.generation.prefix import Prefix, prefill
from seal_jax.generation.sampling import Sampling, filter_logits
from seal_jax.generation.score import score

__all__ = [
    "Controls",
    "Output",
    "Prefix",
    "Sampling",
    "filter_logits",
    "generate",
    "generate_batch",
    "prefill",
    "score",
    "stack_adapters",
]
