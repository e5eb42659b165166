"""Self-edits as the released code takes them: permissive, in its order of checks. By name, for published numbers."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from seal_jax.seal.arc.schema import FLAGS, LIMITS, STRATEGIES, TRAINING_KEYS, EditConfig, Limits, Refused

OutcomeKind = Literal[
    "rejected_resample",
    "reference_crashes",
    "dropped_no_training_data",
    "accepted_zero_epochs",
    "accepted_trains",
]


class Resolved(NamedTuple):
    """What became of a response; past the first three kinds, the values that reach the trainer, of any JSON type."""

    outcome: OutcomeKind
    groups: tuple[str, ...] = ()
    strategy: Any = None  # as recorded; an unknown one is kept and trains on output tokens
    learning_rate: Any = 0
    epochs: Any = 0

    @property
    def all_tokens(self) -> bool:
        """Whether the loss is over all tokens."""
        return self.strategy == "train_using_all_tokens"


def blocks_of(
    text: str | None,
) -> tuple[dict[str, Any], dict[str, Any]] | Literal["rejected_resample", "reference_crashes"]:
    """The two blocks of a response, or what the released code does where it cannot have them.

    The last of several equal keys counts. What is not text, which the released code never meets, is no JSON.
    """
    if not isinstance(text, str):
        return "rejected_resample"
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return "rejected_resample"
    blocks = [loaded.get(key) if isinstance(loaded, dict) else None for key in ("data_generation", "training")]
    whole = [block for block in blocks if isinstance(block, dict) and not any(map(_nested, block.values()))]
    return (whole[0], whole[1]) if len(whole) == 2 else "reference_crashes"


def resolve(text: str | None, n_sequences: int, limits: Limits = LIMITS) -> Resolved:
    """What the released code does with a response whose augmentation groups give `n_sequences` to train on.

    Never raises. Where the released code would crash, the outcome says so; such a response is no edit.
    """
    blocks = blocks_of(text)
    if isinstance(blocks, str):
        return Resolved(blocks)
    flags, training = blocks
    whole = all(flag in flags for flag in FLAGS)
    groups = tuple(group for flag, group in FLAGS.items() if whole and flags[flag])
    # A missing flag sets the epochs before they are looked for, so an edit without both keeps its learning rate.
    training = training if whole else {**training, "num_train_epochs": 0}
    if n_sequences < 1:
        return Resolved("dropped_no_training_data")
    if any(key not in training for key in TRAINING_KEYS):
        return Resolved("accepted_zero_epochs", groups, STRATEGIES[0])
    strategy, rate, epochs = (training[key] for key in TRAINING_KEYS)
    epochs = epochs if strategy in STRATEGIES else 0
    if epochs is None or isinstance(epochs, str):
        return Resolved("reference_crashes")
    # An infinite or undefined number of epochs makes the steps undefined, which are then not over the limit.
    epochs = 0 if epochs * n_sequences // limits.batch_size > limits.steps else epochs
    return Resolved("accepted_trains" if epochs else "accepted_zero_epochs", groups, strategy, rate, epochs)


def parse(text: str, limits: Limits = LIMITS) -> EditConfig | Refused:
    """The edit as the released code takes it before it counts steps, if its numbers are ones that can be trained with.

    The released code hands the trainer anything; a learning rate that is no finite number, or epochs that are not a
    whole number of at least 0, are refused here.
    """
    found = resolve(text, 1, Limits(steps=10**400))
    if found.outcome in ("rejected_resample", "reference_crashes"):
        return Refused("not JSON" if found.outcome == "rejected_resample" else "the released code stops with an error")
    if not _number(found.learning_rate) or not _number(found.epochs) or found.epochs < 0 or found.epochs % 1:
        return Refused("learning rate or epochs are not numbers to train with")
    strategy = STRATEGIES[0] if found.all_tokens else STRATEGIES[1]
    return EditConfig(found.groups, strategy, float(found.learning_rate), int(found.epochs))


def config_key(text: str | None) -> tuple[frozenset[Any], frozenset[Any]] | None:
    """What makes two edits the same: the keys and values of the two blocks, nothing else. None for no edit."""
    blocks = blocks_of(text)
    return None if isinstance(blocks, str) else (frozenset(blocks[0].items()), frozenset(blocks[1].items()))


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e300
