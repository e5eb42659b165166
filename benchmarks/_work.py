"""What is trained: model shapes, and edits of a fixed token budget."""

from __future__ import annotations

import dataclasses

import numpy as np

from seal_jax import models


def _llama(vocab: int, hidden: int, intermediate: int, layers: int, heads: int) -> models.Config:
    return models.Config(
        "llama", vocab, hidden, intermediate, layers, heads, heads, hidden // heads, 4096, tie_embeddings=True
    )


SHAPES: dict[str, models.Config] = {
    "tiny": _llama(vocab=64, hidden=32, intermediate=48, layers=2, heads=4),  # for the test of this benchmark
    "6M": _llama(vocab=4096, hidden=256, intermediate=704, layers=6, heads=8),
    "12x768": _llama(vocab=8192, hidden=768, intermediate=2048, layers=12, heads=12),
    "qwen2.5-7b": models.Config(
        "qwen2", 152064, 3584, 18944, 28, 28, 4, 128, 32768, rope_theta=1e6, norm_eps=1e-6, qkv_bias=True
    ),
}


@dataclasses.dataclass(frozen=True)
class Work:
    """One self-edit as SEAL trains it: `sequences` texts of `shortest` to `longest` tokens, `epochs` times, batch 1."""

    sequences: int = 9
    shortest: int = 40
    longest: int = 60
    epochs: int = 10
    rank: int = 32
    alpha: int = 64
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    padded_to: int = 2048
    questions: int = 5
    question_tokens: int = 40
    answer_tokens: int = 64

    @property
    def steps(self) -> int:
        """Optimizer steps of one edit."""
        return self.sequences * self.epochs

    def edit(self, vocab: int, index: int) -> list[np.ndarray]:
        """The sequences of edit `index`: int32 token ids, at random."""
        rng = np.random.default_rng(index)
        lengths = rng.integers(self.shortest, self.longest + 1, self.sequences)
        return [rng.integers(1, vocab, n).astype(np.int32) for n in lengths]


def flops_per_token(config: models.Config, work: Work) -> float:
    """Floating-point operations of one trained token: the matrix products of weights and LoRA, attention left out.

    A frozen weight costs a product forward and one backward, a LoRA factor one more for its own gradient.
    """
    c = config
    width, kv = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
    kernels = {"q_proj": (c.hidden_size, width), "k_proj": (c.hidden_size, kv), "v_proj": (c.hidden_size, kv)}
    kernels |= {"o_proj": (width, c.hidden_size), "down_proj": (c.intermediate_size, c.hidden_size)}
    kernels |= dict.fromkeys(("gate_proj", "up_proj"), (c.hidden_size, c.intermediate_size))
    frozen = c.num_layers * sum(i * o for i, o in kernels.values()) + c.vocab_size * c.hidden_size
    lora = c.num_layers * sum(work.rank * sum(kernels[name]) for name in work.targets)
    return 4.0 * frozen + 6.0 * lora
