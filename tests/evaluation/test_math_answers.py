"""Numbers and boxed answers in hand-made strings, by the fixed rules and by those of the release."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seal_jax.data.boxed import last_boxed
from seal_jax.evaluation import latex
from seal_jax.evaluation.latex_values import value
from seal_jax.evaluation.math_answers import last_number, math_answer, math_correct, number_correct

# text: (what the fixed rule reads, what the reference reads)
NUMBERS = {
    "The answer is 18.": ("18", "18"),
    "She makes 9 * 2 = 18 dollars": ("18", "18"),
    "The total is 1,080": ("1080", "80"),
    "It is 12,345,678 people.": ("12345678", "678"),
    "A loss of -5": ("-5", "5"),
    "It is −5 degrees": ("-5", "5"),
    "x = -3.50.": ("-3.5", "3.5"),
    "So 5-3": ("3", "3"),
    "So 5 - 3 is 5 -3": ("-3", "3"),
    "between 3-5 days": ("5", "5"),
    "(-7)": ("-7", "7"),
    "He pays $1,080.50.": ("1080.5", "80.5"),
    "a change of -$20": ("-20", "20"),
    "a change of $-20": ("-20", "20"),
    "costs \\$18": ("18", "18"),
    "costs €18": ("18", "18"),
    "the share is 50%": ("50", "50"),
    "half is .5": (".5", ".5"),
    "it is 7.": ("7", "7"),
    "it is 7.0": ("7", "7"),
    "1, 2, 3": ("3", "3"),
    "1,2,3": ("3", "3"),
    "1{,}080": ("1080", "80"),
    "10 apples and 3 pears": ("3", "3"),
    "18\n": ("18", "18"),
    "it is 1e5": ("100000", "5"),
    "it is 1.5E-3.": ("0.0015", "3"),
    "it is -2e+3": ("-2000", "3"),
    "it is 1e\N{MINUS SIGN}2": ("0.01", "2"),
    "5e is 3 e2 x": ("2", "2"),
    "1e5x and 2e": ("2", "2"),
    "is \N{EN DASH}3": ("-3", "3"),
    "is \N{FIGURE DASH}3": ("-3", "3"),
    "is \N{FULLWIDTH HYPHEN-MINUS}3": ("-3", "3"),
    "3\N{EN DASH}5 days": ("5", "5"),
    "a change of \N{EN DASH}$20": ("-20", "20"),
    "two \N{EN DASH} 5 in all": ("5", "5"),
    "9" * 5000: (None, None),
    "." + "9" * 5000: (None, None),
    "1e999999999": (None, "999999999"),
    "1e" + "9" * 5000: (None, None),
    "no number at all": (None, None),
    "": (None, None),
    "- and . and ,": (None, None),
}


@pytest.mark.parametrize("text", NUMBERS)
def test_the_last_number(text):
    fixed, reference = (None if n is None else Fraction(n) for n in NUMBERS[text])
    assert last_number(text) == fixed
    assert last_number(text, "reference") == reference


# (completion, gold text): (fixed, reference)
GRADED = {
    ("The answer is 1,080.", "... #### 1080"): (True, False),
    ("The answer is 1080.", "... #### 1,080"): (True, False),
    ("It makes 80", "... #### 1,080"): (False, True),  # by the reference, gold 1,080 is 80 as well
    ("5", "#### -5"): (False, True),
    ("-5", "#### -5"): (True, True),
    ("#### 18\n\nQuestion: 3 more", "#### 18"): (True, False),
    ("\\boxed{18}, that is 9 pairs of 2", "#### 18"): (True, False),
    ("\\boxed{}, 18", "#### 18"): (True, True),
    ("18.00", "#### 18"): (True, True),
    (r"\boxed{\frac{10}{2}}", "#### 5"): (True, False),
    (r"\boxed{\dfrac{-15}{2}}", "#### -7.5"): (True, False),
    (r"\boxed{2 + 3}", "#### 5"): (True, False),
    (r"\boxed{\$1,080}", "#### 1080"): (True, False),
    (r"\boxed{18\text{ dollars}}", "#### 18"): (True, True),
    (r"\boxed{x = 18}", "#### 18"): (True, True),
    (r"\boxed{9\pi}", "#### 9"): (True, True),
    (r"\boxed{2 1/2}", "#### 10.5"): (False, False),
    (r"\boxed{1e5}", "#### 100000"): (True, False),
    ("\\boxed{\N{EN DASH}3}", "#### -3"): (True, True),
    ("\\boxed{" + "9" * 5000 + "}", "#### 18"): (False, False),
    ("9" * 5000, "#### 18"): (False, False),
    ("I cannot say", "#### 18"): (False, False),
}


@pytest.mark.parametrize("case", GRADED)
def test_numbers_are_graded(case):
    fixed, reference = GRADED[case]
    assert number_correct(*case) is fixed
    assert number_correct(*case, rules="reference") is reference


def test_a_gold_answer_without_a_number_and_unknown_rules():
    with pytest.raises(ValueError, match="'many' has no number"):
        number_correct("3", "many")
    for call in (lambda: last_number("3", "loose"), lambda: math_answer("3", "loose")):
        with pytest.raises(ValueError, match="rules='loose': there are fixed and reference"):
            call()


BOXES = {
    "so \\boxed{7}": "7",
    r"\boxed{\frac{1}{2}}": r"\frac{1}{2}",
    r"\boxed{\frac{\sqrt{3}}{2 + \frac{1}{2}}} done": r"\frac{\sqrt{3}}{2 + \frac{1}{2}}",
    r"first \boxed{1}, then \boxed{2}": "2",
    r"\boxed{1} and unfinished \boxed{\frac{1}{": "1",
    r"\fbox{3}": "3",
    r"\boxed 5 is it": "5",
    r"\boxed{\{1, 2\}}": r"\{1, 2\}",
    r"\boxed{}": "",
    "none": None,
}


@pytest.mark.parametrize("text", BOXES)
def test_the_last_box(text):
    assert last_boxed(text) == BOXES[text]


ANSWERS = {
    r"The answer is $4$. Or is it \boxed{5}?": ("5", "4"),
    "The final answer is 4. I am sure.": ("4", "4"),
    "Answer: 3.5": ("3.5", "3.5"),
    "The answer is: $\\frac{3}{4}$.": ("\\frac{3}{4}", "\\frac{3}{4}"),
    "the answer is\n\n7": ("7", "7"),
    "It is 4": (None, None),
    r"The answer is \boxed{9}.": ("9", "9"),
}


@pytest.mark.parametrize("text", ANSWERS)
def test_where_the_answer_is(text):
    fixed, reference = ANSWERS[text]
    assert math_answer(text) == fixed
    assert math_answer(text, "reference") == reference


EQUAL = [
    ("7", "7.0"),
    (r"\frac{1}{2}", "0.5"),
    (r"\frac{1}{2}", "1/2"),
    (r"\dfrac12", r"\tfrac{1}{2}"),
    ("2516_8", "2516_{8}"),
    (r"11001_{2}", r"11001_2"),
    (r"\log_{2} x", r"\log_2 x"),
    (r"\frac{\sqrt3}{2}", r"\sqrt{3}/2"),
    (r"\frac1{72}", "1/72"),
    (r"-\frac{3}{4}", r"\frac{-3}{4}"),
    (r"1\frac{1}{2}", "1.5"),
    ("1,080", "1080"),
    ("1{,}080", "1080"),
    (r"\$18", "18"),
    (r"50\%", "50"),
    (r"90^\circ", "90"),
    (r"90^{\circ}", "90"),
    (r"5\text{ cm}", "5"),
    (r"5\text{ cm}^2", "5"),
    ("5 cm", "5"),
    (r"\text{(A)}", "(A)"),
    (r"\text{Evelyn}", "Evelyn"),
    (r"\left(1, 2\right)", "(1,2)"),
    (r"\left( \frac{1}{2}, 3 \right]", "(0.5, 3]"),
    (r"\{1, 2, 3\}", r"\{3,2,1\}"),
    ("1, -2", "-2, 1"),
    (r"1 \text{ and } -2", "1,-2"),
    (r"1 \pm \sqrt{2}", r"1-\sqrt{2}, 1+\sqrt{2}"),
    ("x = 5", "5"),
    (r"x \in [1, 2]", "[1,2]"),
    ("2x+1", "1+2x"),
    ("(x+1)^2", "x^2+2x+1"),
    ("x(x-1)", "x^2 - x"),
    (r"\frac{x+y}{2}", "x/2+y/2"),
    (r"2\pi", r"\pi \cdot 2"),
    ("3.1416", r"\pi"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\sqrt[3]{-8}", "-2"),
    (r"2^{10}", "1024"),
    (r"\sqrt{-1}", r"\sqrt{-4}/2"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix}1&2\\3&\frac{8}{2}\end{pmatrix}"),
    ("0.3333", r"\frac{1}{3}"),
    (".5", "0.50"),
    (r"\infty", "∞"),
    ("7.", "7"),
    ("$7$", "7"),
    (r"\frac{1}{2}\text{ hours}", "0.5"),
    ("i + 1", "1 + i"),
    ("xy^2", "y^2 x"),
    ("2^{2000}", "2^{2000}"),
]
DIFFERENT = [
    ("7", "8"),
    ("10000", "10001"),
    ("-5", "5"),
    (r"\frac{1}{2}", r"\frac{1}{3}"),
    ("0.33", r"\frac{1}{3}"),
    ("50", "0.5"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    (r"\{1,2\}", r"\{1,2,3\}"),
    ("1, 1", "1, 2"),
    ("1,2", "1"),
    ("x", "y"),
    ("2x+1", "2x-1"),
    ("x", "1"),
    ("Evelyn", "Evelin"),
    ("", ""),
    ("", "0"),
    (r"\frac{1}{0}", "0"),
    ("(" * 5000 + "1" + ")" * 5000, "1"),
    ("9^9^9^9^9", "1"),
    ("1" * 900, "2"),
    ("1" * 900, "2.5"),
    ("listen", "silent"),
    (r"\frac{", "0"),
    (r"\sqrt", "0"),
]


@pytest.mark.parametrize("pair", EQUAL, ids=str)
def test_the_same_answer_in_another_spelling(pair):
    assert latex.equal(*pair)
    assert latex.equal(*reversed(pair))


@pytest.mark.parametrize("pair", DIFFERENT, ids=lambda pair: str(pair)[:60])
def test_another_answer(pair):
    assert not latex.equal(*pair)
    assert not latex.equal(*reversed(pair))


def test_mathematics_is_graded():
    assert math_correct(r"so it is \boxed{\frac{1}{2}}", "0.5")
    assert not math_correct("so it is one half", r"\frac{1}{2}")
    assert not math_correct(r"\boxed{50}", "0.5")
    assert math_correct(r"\boxed{50}", "0.5", "reference")
    assert math_correct(r"\boxed{0.005}", "0.5", "reference")
    assert math_correct(r"\boxed{10001}", "10000", "reference")
    assert not math_correct(r"\boxed{x}", "0.5", "reference")


@pytest.mark.parametrize(
    "text", [*(a for pair in EQUAL + DIFFERENT for a in pair), "}{", "\\", "^", "((", "a_1", "|x|"]
)
def test_normalizing_twice_changes_nothing_and_nothing_raises(text):
    once = latex.normalize(text)
    assert latex.normalize(once) == once
    value(once)


def _expressions():
    """(LaTeX, value) of random arithmetic; the oracle is Python's own on fractions, built beside the text."""
    numbers = st.integers(0, 99).map(lambda n: (str(n), Fraction(n)))

    def grown(inner):
        two = st.tuples(inner, inner)
        return st.one_of(
            two.map(lambda p: (f"{p[0][0]} + {p[1][0]}", p[0][1] + p[1][1])),
            two.map(lambda p: (f"{p[0][0]} - \\left({p[1][0]}\\right)", p[0][1] - p[1][1])),
            two.map(lambda p: (f"({p[0][0]}) \\cdot ({p[1][0]})", p[0][1] * p[1][1])),
            two.filter(lambda p: p[1][1]).map(lambda p: (f"\\frac{{{p[0][0]}}}{{{p[1][0]}}}", p[0][1] / p[1][1])),
            two.filter(lambda p: p[1][1]).map(lambda p: (f"({p[0][0]})/({p[1][0]})", p[0][1] / p[1][1])),
            inner.map(lambda e: (f"-({e[0]})", -e[1])),
            inner.map(lambda e: (f"({e[0]})^2", e[1] ** 2)),
            inner.map(lambda e: (f"\\sqrt{{({e[0]})^{{2}}}}", abs(e[1]))),
        )

    return st.recursive(numbers, grown, max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(_expressions())
def test_values_are_those_of_arithmetic(expression):
    text, right = expression
    found = value(latex.normalize(text))
    if len(text) <= latex.LONGEST and isinstance(found, Fraction):
        assert found == right
        plain = str(right.numerator) if right.denominator == 1 else f"{right.numerator}/{right.denominator}"
        assert latex.equal(text, plain)
        assert not latex.equal(text, str(right.numerator + 1 + right.denominator))
    else:
        assert found == pytest.approx(float(right), rel=1e-6)


NASTY = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(
            [
                *(
                    "\\boxed{",
                    "\\frac",
                    "\\frac{",
                    "\\sqrt",
                    "\\sqrt[",
                    "{",
                    "}",
                    "(",
                    ")",
                    "[",
                    "]",
                    "\\{",
                    "\\}",
                    "\\",
                    "\\\\",
                ),
                *(
                    "^",
                    "_",
                    "&",
                    "|",
                    ",",
                    ".",
                    "-",
                    "\N{EN DASH}",
                    "+",
                    "/",
                    "*",
                    "=",
                    "#### ",
                    "answer is ",
                    "Answer: ",
                    "$",
                ),
                *(
                    "\\pm",
                    "\\pi",
                    "\\text{",
                    "\\begin{pmatrix}",
                    "\\end{pmatrix}",
                    "\\in",
                    "%",
                    "9" * 5000,
                    "9" * 400,
                    "1e9",
                    "e",
                ),
                *(
                    "0",
                    "1",
                    "64",
                    "1,000",
                    ".5",
                    "x",
                    "A",
                    "B",
                    " ",
                    "\n",
                    "\0",
                    "\N{SUPERSCRIPT TWO}",
                    "\N{ARABIC-INDIC DIGIT TWO}",
                ),
            ]
        ),
        max_size=40,
    ).map("".join),
)


@settings(max_examples=400, deadline=None)
@given(NASTY, NASTY, st.sampled_from(["fixed", "reference"]))
@example("", "0\\frac{", "fixed")
def test_no_text_makes_a_grader_fail(completion, gold, rules):
    assert number_correct(completion, "#### 18", rules) in (True, False)
    assert math_correct(completion, gold, rules) in (True, False)
    assert math_correct(f"\\boxed{{{completion}}}", gold, rules) in (True, False)
    assert latex.equal(completion, gold) == latex.equal(completion, gold)


@pytest.mark.parametrize(
    "text",
    [
        "\\frac{" * 140 + "}" * 140,
        "\\frac{" * 570 + "}" * 570,
        "\\frac{" * 5000 + "}" * 5000,
        "\\boxed{" * 2000,
        "(" * 5000 + "1,2" + ")" * 5000,
        "\\sqrt" * 900,
        "{" * 900,
    ],
)
def test_what_a_model_repeats_is_graded(text):
    assert not number_correct(text, "#### 18")
    assert not math_correct(text, "18")
    assert not math_correct(f"answer is {text}", "18", "reference")
    assert latex.equal(text, text)
