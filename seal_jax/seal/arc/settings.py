"""Settings of SEAL on ARC.

The defaults are the released ones for Llama-3.2-1B-Instruct (arXiv 2506.10943, section 4.2).
They are checked when they are made: ValueError names the field and what would be right.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from seal_jax.data.arc.rules import Rules
from seal_jax.seal import checks
from seal_jax.seal.arc.schema import Limits
from seal_jax.seal.settings import PolicyUpdate

TARGETS = ("q_proj", "v_proj", "gate_proj", "up_proj", "down_proj")
RELEASED_LENGTH = 8192
Loss = Literal["ours", "reference"]
Order = Literal["random", "long_first"]
Select = Literal["solved", "gained"]


@dataclasses.dataclass(frozen=True)
class Edits:
    """How self-edits are written, and which count."""

    template: str = "arc-edit"
    """The prompt: "arc-edit", "arc-edit-plain" (for the embedded checkpoint), or the path of a file with {demos}."""
    chat: bool = True
    """Ask in the tokenizer's chat form; with no-chat in plain text."""
    count: int = 15
    """Edits tried for each task of a round."""
    tested: int = 5
    """Edits tried for each task of an evaluation."""
    temperature: float = 0.8
    """Of the sampling; 0 is greedy."""
    max_new_tokens: int = 128
    """Most tokens of an edit."""
    attempts: int = 10
    """Responses drawn for one edit; if none of them is valid, the edit scores 0."""
    rules: Rules = "ours"
    """What is valid: "ours", the schema with bounds; "reference", what the released code lets pass."""
    rows: int = 64
    """Edits written at once."""

    def __post_init__(self) -> None:
        checks.at_least(self, 1, "count", "tested", "max_new_tokens", "attempts", "rows")
        checks.at_least(self, 0, "temperature")
        checks.one_of(self, "rules", Rules)


@dataclasses.dataclass(frozen=True)
class TestTime:
    """Test-time training: one LoRA fine-tune per edit, whose learning rate, epochs and loss are the edit's."""

    rank: int = 128
    """Rank of the LoRA adapter."""
    alpha: float = 16.0
    """The adapter is scaled by alpha / rank."""
    targets: tuple[str, ...] = TARGETS
    """Projections that get an adapter; "all" for every one."""
    batch_size: int = 2
    """Sequences of a step."""
    warmup: int = 11
    """Steps in which the learning rate rises from 0; it then falls as a cosine to 0."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 is no limit."""
    leave_n: tuple[int, ...] = (1, 2)
    """Demonstrations left out of a training sequence, the one to be predicted among them."""
    permute_n: int = 1
    """Copies of each sequence with other colours and another order of the demonstrations."""
    max_sequences: int = 250
    """Most training sequences of a task, drawn at random."""
    max_length: int = 8192
    """Longest sequence in tokens, within the model's context; longer ones are left out."""
    max_learning_rate: float = 1.0
    """An edit that asks for more is not valid."""
    max_steps: int = 375
    """Most optimizer steps of an edit, counted as they are run; an edit of more is not valid. With `edits.rules`
    "reference" epochs * sequences // batch size counts, and an edit of more is not trained."""
    rules: Rules = "ours"
    """Of making training sequences: "reference" shifts inputs and outputs apart, as the released code does."""
    loss: Loss = "ours"
    """"ours": answer and end of turn, or all tokens of the conversation, as the edit says; "reference": also an empty
    assistant header after the answer and the pads up to the longest sequence of the edit, after two BOS."""
    order: Order = "random"
    """Of the sequences in an epoch: "random" as released, or "long_first", which costs less where lengths differ."""
    remat: bool = False
    """Recompute activations in the backward pass: slower, in far less memory."""
    at_once: int = 16
    """Edits in one program."""

    def __post_init__(self) -> None:
        checks.at_least(self, 1, "rank", "batch_size", "max_sequences", "max_length", "at_once")
        checks.at_least(self, 0, "warmup", "clip", "permute_n", "max_steps")
        checks.above_zero(self, "alpha", "max_learning_rate")
        checks.has_targets(self)
        checks.one_of(self, "loss", Loss)
        checks.one_of(self, "rules", Rules)
        checks.one_of(self, "order", Order)
        checks.counts(self, "leave_n")

    @property
    def limits(self) -> Limits:
        """What an edit may ask for."""
        # The most epochs that the released count of steps, rounded down, leaves to a single sequence.
        epochs = (self.max_steps + 1) * self.batch_size - 1
        return Limits(self.max_learning_rate, epochs, self.max_steps, self.batch_size)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Augmented prediction: each test input is posed in several ways, decoded greedily, and the answers vote."""

    include_n: tuple[int, ...] = (1,)
    """Demonstrations left out of a query; where no such query fits the context, one more."""
    permute_n: int = 2
    """Copies of each query with another order of the demonstrations."""
    max_new_tokens: int = 2048
    """Most tokens of an answer, within `max_length`; a grid of 30 x 30 takes about 1,900 with Llama. The released code
    has no limit of its own: 8192 is that."""
    max_length: int | None = None
    """Most tokens of a query with its answer, within the model's context; a query that leaves no room for an answer is
    left out. None: the context, and with the reference's rules the released 8192."""
    rules: Rules = "ours"
    """Of making queries, reading grids and voting: "ours", or "reference", as the released code does all three."""
    rows: int = 64
    """Queries of one adapter decoded at once."""

    def __post_init__(self) -> None:
        checks.at_least(self, 1, "max_new_tokens", "rows")
        checks.at_least(self, 0, "permute_n")
        if self.max_length is not None:
            checks.at_least(self, 1, "max_length")
        checks.one_of(self, "rules", Rules)
        checks.counts(self, "include_n")

    def length(self, context: int) -> int:
        """Tokens that a query and its answer have together, with a model that takes `context` tokens."""
        released = RELEASED_LENGTH if self.rules == "reference" else context
        return min(context, released if self.max_length is None else self.max_length)


POLICY = PolicyUpdate(
    rank=16, alpha=16.0, targets=TARGETS, learning_rate=5e-5, epochs=8, batch_size=5, schedule="cosine", max_length=8192
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """One SEAL experiment on ARC."""

    edits: Edits = Edits()
    ttt: TestTime = TestTime()
    prediction: Prediction = Prediction()
    policy: PolicyUpdate = POLICY
    select: Select = "solved"
    """Edits that are cloned: "solved", all that solved their task, as released; "gained", those of them whose task the
    policy does not solve without training."""
    instruction: str = "arc-task"
    """The words before a task: "arc-task", "arc-task-plain" (none, for the embedded checkpoint), or a file's."""

    def __post_init__(self) -> None:
        checks.one_of(self, "select", Select)
