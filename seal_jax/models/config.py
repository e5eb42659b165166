"""What distinguishes one decoder from another, as a frozen, hashable value (it is a static argument of `jit`)."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """Rotary frequency scaling. `kind` is one of `rope.SCALINGS`; a kind ignores the fields it does not use.

    Fields are as in a config.json of transformers: positions in tokens, factors without unit, `short_factor` and
    `long_factor` one number per channel pair, `proportion` the share of pairs that turn. None: derived from the others.
    `stretches`, of "linear": the context before scaling is stated, beside that after it (`max_sequence_length`).
    """

    kind: str
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position: int = 8192
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()
    proportion: float = 1.0
    stretches: bool = False


@dataclasses.dataclass(frozen=True)
class Config:
    """A decoder-only transformer: grouped-query attention and an MLP in each layer, rotary or learned positions.

    Sizes are in elements, `sliding_windows` in tokens (None: full attention), one entry per layer.

    max_position: the positions the model takes, those that a rotary scaling adds included.

    norm: "rms", or "layer" with mean and bias; it multiplies by `norm_offset + scale`. residual: "sequential" (norm
    before attention and before the MLP), "sandwich" (also after each), or "parallel" (both read the layer's input).
    rotary_dim: channels of a head that turn (None: all, 0: no rotary positions); layers with a window turn by
    `window_rope_theta` and `window_rope_scaling` where the former is not None. learned_positions: an embedding of
    `max_position` positions is added, and a row that goes beyond them is NaN (callers check before). query_scalar:
    attention logits are divided by its square root (None: head_dim). attention_softcap, logit_softcap: cap *
    tanh(x / cap) of attention logits and of the model's logits. embedding_scale multiplies embedded tokens, rounded to
    their dtype. gated_mlp: act(gate(x)) * up(x) in place of act(up(x)). fused_qkv: one kernel with columns
    `[heads, 3, head_dim]`.

    Raises ValueError for sizes that do not go together.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position: int
    activation: str = "silu"
    norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    sliding_windows: tuple[int | None, ...] | None = None
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tie_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    pad_token_id: int | None = None
    norm: Literal["rms", "layer"] = "rms"
    norm_offset: float = 0.0
    residual: Literal["sequential", "sandwich", "parallel"] = "sequential"
    rotary_dim: int | None = None
    window_rope_theta: float | None = None
    window_rope_scaling: RopeScaling | None = None
    learned_positions: bool = False
    query_scalar: float | None = None
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    embedding_scale: float = 1.0
    gated_mlp: bool = True
    fused_qkv: bool = False

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads={self.num_heads} is not a multiple of num_kv_heads={self.num_kv_heads}: "
                "every key/value head serves the same number of query heads"
            )
        if self.fused_qkv and self.num_kv_heads != self.num_heads:
            raise ValueError(f"fused_qkv needs num_kv_heads={self.num_heads}, not {self.num_kv_heads}: one per head")
        if self.rotary_dim is None and self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} is odd: rotary positions turn pairs of channels")
        if self.turned > self.head_dim:
            raise ValueError(f"rotary_dim={self.rotary_dim} does not fit into head_dim={self.head_dim}")
        if self.sliding_windows is not None and len(self.sliding_windows) != self.num_layers:
            raise ValueError(f"sliding_windows has {len(self.sliding_windows)} entries for {self.num_layers} layers")

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The attention window of each layer in tokens, None where attention is full."""
        return self.sliding_windows or (None,) * self.num_layers

    @property
    def turned(self) -> int:
        """How many channels of a head rotary positions turn: `rotary_dim`, an odd one rounded up to pairs."""
        return self.head_dim if self.rotary_dim is None else self.rotary_dim + self.rotary_dim % 2
