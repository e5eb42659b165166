"""Settings are checked when they are made."""

import dataclasses
import typing

import pytest

from seal_jax.evaluation import RULES
from seal_jax.seal import reward
from seal_jax.seal import settings as module
from seal_jax.seal.settings import Answering, Edits, Inner, PolicyUpdate, Settings
from seal_jax.training.loss import PAD_LOSSES


@pytest.mark.parametrize(
    ("make", "wrong", "message"),
    [
        (Edits, {"count": 0}, "count 0: use 1 or more"),
        (Edits, {"max_new_tokens": -1}, "max_new_tokens -1: use 1 or more"),
        (Edits, {"rows": 0}, "rows 0: use 1 or more"),
        (Edits, {"temperature": -0.1}, r"temperature -0\.1: use 0 or more"),
        (Edits, {"temperature": float("nan")}, "temperature nan: use 0 or more"),
        (Edits, {"top_p": 0.0}, r"top_p 0\.0: use a number above 0 and up to 1"),
        (Edits, {"top_p": 1.5}, r"top_p 1\.5: use a number above 0 and up to 1"),
        (Edits, {"top_k": 0}, "top_k 0: use 1 or more"),
        (Inner, {"rank": 0}, "rank 0: use 1 or more"),
        (Inner, {"epochs": 0}, "epochs 0: use 1 or more"),
        (Inner, {"batch_size": 0}, "batch_size 0: use 1 or more"),
        (Inner, {"at_once": 0}, "at_once 0: use 1 or more"),
        (Inner, {"learning_rate": 0.0}, r"learning_rate 0\.0: use a number above 0"),
        (Inner, {"learning_rate": float("nan")}, "learning_rate nan: use a number above 0"),
        (Inner, {"targets": ()}, r"targets \(\): give a tuple of projections"),
        (Inner, {"pad_loss": "none"}, "pad_loss 'none' is not one of masked, reference"),
        (Answering, {"max_new_tokens": 0}, "max_new_tokens 0: use 1 or more"),
        (Answering, {"rule": "fuzzy"}, "rule 'fuzzy' is not one of exact, contained, recall"),
        (PolicyUpdate, {"learning_rate": -1.0}, r"learning_rate -1\.0: use a number above 0"),
        (PolicyUpdate, {"checkpoint_every": 0}, "checkpoint_every 0: use 1 or more"),
        (PolicyUpdate, {"accumulate": 3}, "accumulate 3: use a divisor of batch_size 10"),
        (Settings, {"seeds": 0}, "seeds 0: use 1 or more"),
        (Settings, {"k_best": 0}, "k_best 0: use 1 or more"),
        (Settings, {"reward": "bleu"}, "reward 'bleu' is not one of accuracy, binary, loglik"),
        (Settings, {"select": "worst"}, "select 'worst' is not one of best, positive"),
    ],
)
def test_a_wrong_value_is_refused_by_name(make, wrong, message):
    with pytest.raises(ValueError, match=message):
        make(**wrong)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make(), **wrong)


def test_the_ends_of_the_ranges_are_fine():
    assert Edits(count=1, temperature=0.0, top_p=1.0, top_k=1, rows=1).top_k == 1


def test_the_lists_of_values_are_those_of_the_code():
    assert typing.get_args(module.Rule) == tuple(RULES)
    assert typing.get_args(module.Reward) == reward.KINDS
    assert typing.get_args(module.PadLoss) == PAD_LOSSES
