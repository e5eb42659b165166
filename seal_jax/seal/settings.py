"""Settings of SEAL's stages. The defaults are the released ones for Qwen2.5-7B (specification: arXiv 2506.10943).

They are checked when they are made: ValueError names the field and what would be right.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from seal_jax.evaluation.endpoint import Endpoint
from seal_jax.seal import checks

PadLoss = Literal["masked", "reference"]
Rule = Literal["exact", "contained", "recall", "recall_all", "recall_half"]
GraderName = Literal["rule", "self", "endpoint"]
Reward = Literal["accuracy", "binary", "loglik"]
Select = Literal["best", "positive"]
Method = Literal["lora", "full"]
Schedule = Literal["linear", "cosine"]
_NOWHERE = Endpoint()


@dataclasses.dataclass(frozen=True)
class Edits:
    """How self-edits are written. `max_new_tokens` is cut where prompt and edit would exceed the context."""

    kind: str = "implications"
    """The prompt: "implications", "implications-long", "implications-very-long", "rewrite", "self-qa", "no-prompt" (the
    passage alone), "plain" (for the embedded checkpoint), or the path of a template with {title} and {context}."""
    count: int = 5
    """Edits written for each passage."""
    temperature: float = 1.0
    """Of the sampling; 0 is greedy."""
    top_p: float = 0.95
    """Sample from the smallest set of tokens that has this much probability."""
    top_k: int | None = None
    """Sample from the k most likely tokens only."""
    max_new_tokens: int = 8192
    """Most tokens of an edit."""
    chat: bool = False
    """Ask in the tokenizer's chat form."""
    stop: tuple[str, ...] = ()
    """Strings that end an edit and are not part of it. On the command line \\n in them is a line end, \\t a tab."""
    rows: int = 32
    """Edits written at once."""

    def __post_init__(self) -> None:
        checks.at_least(self, 1, "count", "max_new_tokens", "rows")
        checks.at_least(self, 0, "temperature")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p}: use a number above 0 and up to 1")
        if self.top_k is not None:
            checks.at_least(self, 1, "top_k")


@dataclasses.dataclass(frozen=True)
class Inner:
    """The inner loop: one fine-tune per edit, then the questions. AdamW, linear decay, lengths in tokens."""

    method: Method = "lora"
    """"lora" trains an adapter of each edit; "full" a copy of all weights, for small models: an edit at once then takes
    16 bytes a parameter."""
    rank: int = 32
    """Rank of the LoRA adapter."""
    alpha: float = 64.0
    """The adapter is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Projections that get an adapter; "all" for every one."""
    learning_rate: float = 1e-3
    """At the first step; it falls linearly to 0."""
    epochs: int = 10
    """How often each sequence of an edit is seen."""
    batch_size: int = 1
    """Sequences of a step."""
    weight_decay: float = 0.0
    """Of AdamW."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 is no limit."""
    max_length: int = 2048
    """Tokens a sequence is cut at."""
    split_newlines: bool = True
    """Each line of an edit is a text of its own to train on; with no-split-newlines the edit is one text."""
    pad_loss: PadLoss = "masked"
    """"masked": one end-of-text target; "reference": pads to `max_length` and trains on the pads, as released."""
    remat: bool = False
    """Recompute activations in the backward pass: slower, in far less memory."""
    at_once: int = 32
    """Edits in one program."""

    def __post_init__(self) -> None:
        checks.at_least(self, 1, "rank", "epochs", "batch_size", "max_length", "at_once")
        checks.at_least(self, 0, "weight_decay", "clip")
        checks.above_zero(self, "alpha", "learning_rate")
        checks.has_targets(self)
        checks.one_of(self, "pad_loss", PadLoss)
        checks.one_of(self, "method", Method)


@dataclasses.dataclass(frozen=True)
class Answering:
    """How questions are asked and graded: greedy, without the passage."""

    template: str = "answer"
    """The prompt: "answer", "plain" (for the embedded checkpoint), or the path of a template with {title} and
    {question}."""
    max_new_tokens: int = 64
    """Most tokens of an answer."""
    stop: tuple[str, ...] = ()
    """Strings that end an answer and are not part of it. On the command line \\n in them is a line end, \\t a tab."""
    rule: Rule = "recall"
    """When an answer is right: the gold answer's words are in it to 67 % ("recall"), 50 % ("recall_half"), 100 %
    ("recall_all"), or as one piece ("contained"), or are the whole answer ("exact")."""
    chat: bool = False
    """Ask in the tokenizer's chat form."""
    grader: GraderName = "rule"
    """Who grades: "rule", the model itself without an adapter ("self"), or a served model ("endpoint"). What a model
    could not be brought to grade counts neither as right nor as wrong, and is reported as ungraded."""
    judge: str = "judge"
    """What a grading model is asked: "judge", or the path of a template with {question}, {gold} and {answer}."""
    judge_tokens: int = 16
    """Most tokens of its reply."""
    endpoint: Endpoint = _NOWHERE
    """The served model that grades."""

    def __post_init__(self) -> None:
        checks.at_least(self, 1, "max_new_tokens", "judge_tokens")
        checks.one_of(self, "rule", Rule)
        checks.one_of(self, "grader", GraderName)
        if self.grader == "endpoint" and not (self.endpoint.url and self.endpoint.model):
            raise ValueError("grader 'endpoint': give endpoint.url and endpoint.model as well")


@dataclasses.dataclass(frozen=True)
class PolicyUpdate:
    """ReST-EM's supervised step on the selected edits, merged into the weights afterwards."""

    rank: int = 64
    """Rank of the LoRA adapter."""
    alpha: float = 128.0
    """The adapter is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("all",)
    """Projections that get an adapter; "all" for every one."""
    learning_rate: float = 3e-4
    """At the first step; it falls to 0."""
    epochs: int = 2
    """How often each selected edit is seen."""
    batch_size: int = 10
    """Edits of a step."""
    schedule: Schedule = "linear"
    """How the learning rate falls: "linear" or "cosine"."""
    accumulate: int = 1
    """Parts a step is split into, one after the other: the same step in the memory of batch_size / accumulate."""
    max_length: int = 10240
    """Tokens at which prompt and edit are cut."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 is no limit."""
    remat: bool = False
    """Recompute activations in the backward pass: slower, in far less memory."""
    checkpoint_every: int = 50
    """Optimizer steps between checkpoints of adapter, optimizer state and data position."""

    def __post_init__(self) -> None:
        checks.at_least(self, 1, "rank", "epochs", "batch_size", "accumulate", "max_length", "checkpoint_every")
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate {self.accumulate}: use a divisor of batch_size {self.batch_size}")
        checks.at_least(self, 0, "clip")
        checks.above_zero(self, "alpha", "learning_rate")
        checks.has_targets(self)
        checks.one_of(self, "schedule", Schedule)


@dataclasses.dataclass(frozen=True)
class Settings:
    """One SEAL experiment in the single-passage regime."""

    edits: Edits = Edits()
    inner: Inner = Inner()
    answering: Answering = Answering()
    policy: PolicyUpdate = PolicyUpdate()
    reward: Reward = "loglik"
    """What selection maximises: "accuracy", "binary" (better than no edit) or "loglik" (of the gold answers)."""
    seeds: int = 3
    """Fine-tunes per edit whose rewards are averaged."""
    k_best: int = 1
    """Edits chosen of each passage by `select` "best"; "positive" takes every better one, whatever this says."""
    select: Select = "best"
    """"best": the best `k_best` edits of each passage; "positive": every edit that is better than no edit (`k_best`
    has no say then)."""

    def __post_init__(self) -> None:
        checks.at_least(self, 1, "seeds", "k_best")
        checks.one_of(self, "reward", Reward)
        checks.one_of(self, "select", Select)
