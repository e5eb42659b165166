"""Tables of token texts: where sentences end, where a stop string is complete, and what of it is left over."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from spelling import Spelling

from seal_jax.rain.endings import make_endings

TEXTS = ["</s>", "a", "b", "ab", "ba", "aab", "a.", "\n", " A:", "A", ":", "\nA", "b\nA:", "abab", "c,", "d "]
STOPS = ["\nA:", "abaab", "bb"]
TOKENIZER = Spelling(TEXTS, special={0})


def advance(tables, tokens):
    """States after each token, from the beginning of a text."""
    state, states = jnp.int32(0), []
    for token in tokens:
        state = tables.advance(state, jnp.int32(token), jnp.bool_(True))
        states.append(int(state))
    return states


def test_sentence_ends_are_read_from_the_texts_of_tokens():
    tables = make_endings(TOKENIZER, len(TEXTS) + 2, (0,), ())
    assert [TEXTS[i] for i in np.flatnonzero(tables.sentence)] == ["a.", "\n", " A:", ":", "b\nA:", "c,"]
    assert [TEXTS[i] for i in np.flatnonzero(tables.final)] == ["a.", "\n"]
    assert np.flatnonzero(tables.eos).tolist() == [0]
    assert len(tables.width) == len(TEXTS) + 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, len(TEXTS) - 1), min_size=1, max_size=8))
def test_a_stop_string_is_found_across_tokens(tokens):
    tables = jax.tree.map(np.asarray, make_endings(TOKENIZER, len(TEXTS), (0,), STOPS))
    state = 0
    for i, token in enumerate(tokens):
        state = int(tables.follow[token, min(state, tables.ended - 1)]) if state < tables.ended else state
        before, after = (TOKENIZER.decode(tokens[:n]) for n in (i, i + 1))
        found = [(after.find(stop), stop) for stop in STOPS if stop in after]
        assert (state >= tables.ended) == bool(found)
        if found:
            ends = min(at + len(stop) for at, stop in found)
            begins = min(at for at, stop in found if at + len(stop) == ends)
            assert state - tables.ended == max(len(before) - begins, 0)
            return


def test_an_end_token_ends_a_text_unless_it_is_released():
    assert advance(make_endings(TOKENIZER, len(TEXTS), (0,), ()), [1, 0, 2]) == [0, 1, 1]
    released = make_endings(TOKENIZER, len(TEXTS), (0,), (), eos_ends=False)
    assert advance(released, [1, 0, 2]) == [0, 0, 0]


def test_without_a_tokenizer_only_end_tokens_are_known():
    tables = make_endings(None, 5, (3,), ())
    assert not tables.sentence.any()
    assert advance(tables, [1, 3]) == [0, 1]
