"""Diff corpora, texts with their time, cyclic streams."""

import numpy as np
import pytest

from seal_jax.data import streams


def test_what_is_new_in_a_snapshot():
    old = {"A": "A is old. It stands  in B.", "C": "C is here.", "gone": "Nothing."}
    new = {"A": "A is old. It stands in B. It has 3 doors!\nIt was sold.", "C": "C is here.", "D": "D is new. Really."}
    found = streams.difference(old, new)
    assert found.changed == {"A": ["It has 3 doors!", "It was sold."]}
    assert found.new == {"D": ["D is new.", "Really."]}
    assert found.unchanged == {"A": ["A is old.", "It stands in B."], "C": ["C is here."]}
    assert found.corpus() == ["It has 3 doors! It was sold.", "D is new. Really."]
    assert streams.difference(old, old).corpus() == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One. Two? Three!", ["One.", "Two?", "Three!"]),
        ("It is 3.5 m, i.e. much. Ähnlich. 7 more.", ["It is 3.5 m, i.e. much.", "Ähnlich.", "7 more."]),
        ('He said "No." She left.', ['He said "No."', "She left."]),
        ("no end\n\nnext line ", ["no end", "next line"]),
        ("", []),
    ],
)
def test_sentences(text, wanted):
    assert streams.sentences(text) == wanted


def test_texts_with_their_time():
    found = streams.by_time([(2021, "b"), (2019, "a"), (2021, "c")])
    assert list(found.items()) == [(2019, ["year: 2019 text: a"]), (2021, ["year: 2021 text: b", "year: 2021 text: c"])]


def test_cyclic_orders():
    assert streams.cyclic_order(3, 2).tolist() == [0, 1, 2, 0, 1, 2]
    shuffled = streams.cyclic_order(20, 2, shuffled=True).reshape(2, 20)
    assert (np.sort(shuffled) == np.arange(20)).all()
    assert (shuffled[0] != shuffled[1]).any()
    with pytest.raises(ValueError, match="0 documents"):
        streams.cyclic_order(0, 1)


def test_recovery_by_hand():
    """Of two documents; after being trained on, 0 goes to 5 and is back at 2 before it is seen again."""
    order = [0, 1, 1, 0]
    losses = [[9, 9], [1, 9], [3, 1], [5, 2], [1, 4]]
    np.testing.assert_array_equal(streams.recovery(losses, order), [np.nan, np.nan, 0, 0])
    losses = [[9, 9], [1, 9], [5, 1], [2, 2], [1, 4]]
    assert streams.recovery(losses, order)[3] == 3
    with pytest.raises(ValueError, match=r"losses \(4, 2\) and order \(4,\)"):
        streams.recovery(losses[:4], order)
