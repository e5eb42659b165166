"""Settings of SEAL's stages. The defaults are the released ones for Qwen2.5-7B (specification: arXiv 2506.10943)."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Edits:
    """How self-edits are written. `max_new_tokens` is cut where prompt and edit would exceed the context."""

    kind: str = "implications"
    count: int = 5
    temperature: float = 1.0
    top_p: float = 0.95
    top_k: int | None = None
    max_new_tokens: int = 8192
    chat: bool = False
    stop: tuple[str, ...] = ()
    rows: int = 32
    """Edits written at once."""


@dataclasses.dataclass(frozen=True)
class Inner:
    """The inner loop: one LoRA fine-tune per edit, then the questions. AdamW, linear decay, lengths in tokens."""

    rank: int = 32
    alpha: float = 64.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    learning_rate: float = 1e-3
    epochs: int = 10
    batch_size: int = 1
    weight_decay: float = 0.0
    clip: float = 1.0
    max_length: int = 2048
    split_newlines: bool = True
    pad_loss: str = "masked"
    """"masked": one end-of-text target; "reference": pads to `max_length` and trains on the pads, as released."""
    remat: bool = False
    at_once: int = 32
    """Edits in one program."""
    mesh: str = ""
    """Devices to spread the edits over, such as "data=8" or "data=4,model=2"; empty: one device."""


@dataclasses.dataclass(frozen=True)
class Answering:
    """How questions are asked and graded: greedy, without the passage."""

    template: str = "answer"
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    rule: str = "recall"
    chat: bool = False


@dataclasses.dataclass(frozen=True)
class PolicyUpdate:
    """ReST-EM's supervised step on the selected edits, merged into the weights afterwards."""

    rank: int = 64
    alpha: float = 128.0
    targets: tuple[str, ...] = ("all",)
    learning_rate: float = 3e-4
    epochs: int = 2
    batch_size: int = 10
    max_length: int = 10240
    clip: float = 1.0
    remat: bool = False
    """Recompute activations in the backward pass: slower, in far less memory."""
    checkpoint_every: int = 50
    """Optimizer steps between checkpoints of adapter, optimizer state and data position."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """One SEAL experiment in the single-passage regime."""

    edits: Edits = Edits()
    inner: Inner = Inner()
    answering: Answering = Answering()
    policy: PolicyUpdate = PolicyUpdate()
    reward: str = "accuracy"
    """What selection maximises: "accuracy", "binary" (better than no edit) or "loglik" (of the gold answers)."""
    seeds: int = 3
    """Fine-tunes per edit whose rewards are averaged."""
    k_best: int = 1
    select: str = "best"
    """"best": the best `k_best` edits of each passage; "positive": every edit that is better than no edit."""
