"""Letters in hand-made completions, by the fixed rules and by those of the release."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seal_jax.evaluation.choice_answers import chosen

# completion: (fixed, reference); options are A to D
CASES = {
    "The answer is B.": ("B", "B"),
    "The answer is (B)": ("B", "B"),
    "So the answer is (b).": ("B", None),
    "The answer is: **C**": ("C", "C"),
    "The answer is $\\boxed{C}$": ("C", "C"),
    "Answer: D": ("D", "D"),
    "answer:\nD": ("D", "D"),
    "B": ("B", "B"),
    "(B) because": ("B", "B"),
    "B. Photosynthesis": ("B", "B"),
    "It could be A or C, but C fits": ("C", "C"),
    "First I thought the answer is A. No: the answer is B.": ("B", "A"),
    "A is wrong, D is right.": ("D", "D"),
    "C it is. A plant needs light.": ("C", "A"),
    "The answer is C, as I said": ("C", "C"),
    "D, I believe": ("D", "I"),
    "The answer is F": (None, "F"),
    "A. dog\nB. cat\nC. cow\nD. hen\nI choose B": ("B", "B"),
    "DNA and RNA": (None, None),
    "photosynthesis": (None, None),
    "": (None, None),
    "A": ("A", "A"),
    "D's": (None, "D"),
    "The Answer is B, not A": ("B", "A"),
    "THE ANSWER IS B, not A.": ("B", "A"),
    "ANSWER: B (A is too cold)": ("B", "A"),
    "The answer is 'B', not 'A'.": ("B", "A"),
    'The answer is "B", not "A".': ("B", "A"),
    "The answer is “B”, not A.": ("B", "A"),
    "The answer is `B`, not A.": ("B", "A"),
    "The answer is __B__, not A.": ("B", "A"),
    "__Answer__: B, not A.": ("B", "A"),
    "'C'": ("C", "C"),
    "It's D'": ("D", "D"),
    "C_1 and x'A": (None, "A"),
}


@pytest.mark.parametrize("text", CASES)
def test_the_letter_that_is_chosen(text):
    fixed, reference = CASES[text]
    assert chosen(text, "ABCD") == fixed
    got = chosen(text, "ABCD", "reference", seed="q1")
    assert got == reference if reference else got in "ABCD"


def test_without_a_letter_the_reference_draws_by_name():
    drawn = [chosen("none", "ABCD", "reference", seed=f"q{n}") for n in range(200)]
    assert drawn == [chosen("none", "ABCD", "reference", seed=f"q{n}") for n in range(200)]
    assert {drawn.count(letter) > 20 for letter in "ABCD"} == {True}
    with pytest.raises(ValueError, match="rules='any'"):
        chosen("B", "AB", "any")


@given(st.one_of(st.text(), st.text("ABI()*$.:' \n{}\\answeris")), st.sampled_from(["fixed", "reference"]))
def test_no_text_makes_it_fail(text, rules):
    assert chosen(f"{text} answer is {text}", "ABCD", rules) in (None, *"ABCDEFGHIJ")
    assert chosen(text, "ABCD", rules) in (None, *"ABCDEFGHIJ")
