"""The schema of an ARC self-edit: its keys and values, and the bounds that a run may set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

GROUPS = ("basic", "size", "chain", "repeat")
FLAGS = {f"use_{group}_augmentations": group for group in GROUPS}
TRAINING_KEYS = ("strategy", "learning_rate", "num_train_epochs")
Strategy = Literal["train_using_all_tokens", "train_using_output_tokens"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


class Refused(NamedTuple):
    """A response that is no edit, or an edit that is not trained, and why."""

    reason: str


@dataclass(frozen=True)
class Limits:
    """What an edit may ask for: the learning rate in (0, this], whole epochs up to a number, optimizer steps in all."""

    learning_rate: float = 1.0
    epochs: int = 751  # the most that the released count of steps leaves to a single sequence
    steps: int = 375
    batch_size: int = 2


LIMITS = Limits()


@dataclass(frozen=True)
class EditConfig:
    """A self-edit: augmentation groups in the order of GROUPS, the tokens with loss, the peak rate and the epochs."""

    groups: tuple[str, ...]
    strategy: Strategy
    learning_rate: float
    epochs: int

    def to_json(self) -> str:
        """The text that `parse_edit` reads back."""
        flags = {flag: group in self.groups for flag, group in FLAGS.items()}
        training = dict(zip(TRAINING_KEYS, (self.strategy, self.learning_rate, self.epochs)))
        return json.dumps({"data_generation": flags, "training": training})
