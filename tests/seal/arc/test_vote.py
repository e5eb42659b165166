"""Voting: the released code's recorded attempts, ties, and that nothing but the predictions decides."""

import json
import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seal_jax.seal.arc import Prediction, vote
from seal_jax.seal.arc.vote import NOMINATING

A, B, C, D = (((number, 0), (0, number)) for number in range(1, 5))
PREDICTIONS = st.lists(
    st.builds(Prediction, st.sampled_from([A, B, C, D, ((5,),)]), st.sampled_from([None, *NOMINATING, "Rotate(90)"])),
    max_size=12,
)


@pytest.mark.parametrize("rule", ["ours", "reference"])
def test_recorded_votes(shared_data, rule):
    path = pathlib.Path(os.environ.get("ARC_GOLDEN", shared_data / "golden/arc.json"))
    for case in json.loads(path.read_text())["voting_vectors"]:
        predictions = [Prediction(tuple(map(tuple, p["grid"])), p["inverse"]) for p in case["predictions"]]
        expected = tuple(grid and tuple(map(tuple, grid)) for grid in case["attempts"])
        assert vote(predictions, rule) == expected, case["note"]


@given(PREDICTIONS)
def test_attempts_are_predictions_and_differ_where_they_can(predictions):
    first, second = vote(predictions)
    grids = {prediction.grid for prediction in predictions}
    assert {first, second} <= (grids or {None})
    assert (first == second) == (len(grids) < 2)
    vote(predictions, "reference")


@given(PREDICTIONS, st.randoms())
def test_order_decides_full_ties_only(predictions, random):
    """In another order the same grids have the same votes: only what ties in everything can change places."""
    counts = [sum(p.grid == grid for p in predictions) for grid in {p.grid for p in predictions}]
    shuffled = random.sample(predictions, len(predictions))
    if len(set(counts)) == len(counts):
        assert vote(shuffled) == vote(predictions)


def test_ties():
    assert vote([Prediction(A), Prediction(B)]) == (A, B)  # who came first
    assert vote([Prediction(B), Prediction(A)]) == (B, A)
    tie = [Prediction(A, "Flip(0)"), Prediction(B)]
    assert vote(tie) == (B, A)  # one without an augmentation counts more


def test_second_attempt_of_the_released_code():
    """Second and third place tie in nominations and in plain predictions: theirs takes the third."""
    predictions = [Prediction(A), Prediction(A), Prediction(B), Prediction(C)]
    assert vote(predictions) == (A, B)
    assert vote(predictions, "reference") == (A, C)
    more = [*predictions, Prediction(B)]
    assert vote(more, "reference") == vote(more) == (A, B)


def test_rules_have_two_names():
    for predictions in ([], [Prediction(A)]):
        with pytest.raises(ValueError, match="rule 'theirs' is not one of ours, reference"):
            vote(predictions, "theirs")


def test_nothing_predicted():
    assert vote([]) == vote([], "reference") == (None, None)
