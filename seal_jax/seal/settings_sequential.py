"""Settings of sequential edits and of continued pretraining, checked when they are made."""

from __future__ import annotations

import dataclasses
from typing import Literal

from seal_jax.seal import checks
from seal_jax.seal.settings import PadLoss

DrawKind = Literal["disjoint", "reference"]
WeightsKind = Literal["merged", "persistent", "stack"]


@dataclasses.dataclass(frozen=True)
class Sequential:
    """Edits of one model after another, many sequences at once."""

    sequences: int = 64
    """Sequences, each of its own passages and its own copy of the model."""
    steps: int = 8
    """Edits of a sequence, each of one passage; after each all passages so far are asked about."""
    draw: DrawKind = "disjoint"
    """"disjoint": no passage is in two sequences; "reference": as released, runs of `per_run` sequences, run i drawing
    each with Python's random, seeded with 42 + i, from all passages."""
    per_run: int = 8
    """Sequences of a run of the reference: for its way of drawing and for the files in its format."""
    weights: WeightsKind = "merged"
    """What the next step builds on: "merged", a fresh adapter each step, merged into the sequence's weights in the
    model's dtype; "stack", the same with all adapters kept apart, exact and in the memory of factors; "persistent", one
    adapter that every step trains on."""
    replay: int = 0
    """Texts of earlier steps, drawn at random, that each step trains on again."""

    def __post_init__(self) -> None:
        checks.at_least(self, 1, "sequences", "steps", "per_run")
        checks.at_least(self, 0, "replay")
        checks.one_of(self, "draw", DrawKind)
        checks.one_of(self, "weights", WeightsKind)


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """Continued pretraining: one fine-tune on the edits of all passages. AdamW, linear decay."""

    method: Literal["lora", "full"] = "lora"
    """"lora" trains one adapter; "full" all weights, in 16 bytes a parameter."""
    rank: int = 32
    """Rank of the LoRA adapter."""
    alpha: float = 64.0
    """The adapter is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Projections that get an adapter; "all" for every one."""
    learning_rate: float = 1e-3
    """At the first step; it falls linearly to 0."""
    epochs: int = 3
    """How often each text is seen."""
    batch_size: int = 8
    """Texts of a step."""
    accumulate: int = 2
    """Parts a step is split into, one after the other: the same step in the memory of batch_size / accumulate."""
    weight_decay: float = 0.0
    """Of AdamW."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 is no limit."""
    max_length: int = 2048
    """Tokens a text is cut at."""
    split_newlines: bool = False
    """Train on each line of an edit apart, not on the edit as one text."""
    bare_titles: bool = False
    """Where there is no edit, train on the bare title as well, as the released code does."""
    pad_loss: PadLoss = "masked"
    """"masked": one end-of-text target; "reference": pads to `max_length` and trains on the pads, as released."""
    remat: bool = False
    """Recompute activations in the backward pass: slower, in far less memory."""
    checkpoint_every: int = 50
    """Optimizer steps between checkpoints of weights, optimizer state and data position."""

    def __post_init__(self) -> None:
        checks.at_least(self, 1, "rank", "epochs", "batch_size", "accumulate", "max_length", "checkpoint_every")
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate {self.accumulate}: use a divisor of batch_size {self.batch_size}")
        checks.at_least(self, 0, "weight_decay", "clip")
        checks.above_zero(self, "alpha", "learning_rate")
        checks.has_targets(self)
        checks.one_of(self, "method", Literal["lora", "full"])
        checks.one_of(self, "pad_loss", PadLoss)
