"""Answers to mathematical questions: what a completion's answer is, and whether it is right.

Two kinds: the last number (GSM8K), and the boxed answer (MATH). Rules are by name: "fixed" is the default, and
"reference" what the released code of Transformer-squared does, kept for comparison with published numbers.
"""

from __future__ import annotations

import re
from fractions import Fraction

from seal_jax.data.boxed import last_boxed
from seal_jax.evaluation import latex
from seal_jax.evaluation.latex import MINUS_SIGNS
from seal_jax.evaluation.latex_values import value

RULES = ("fixed", "reference")

# A minus belongs to the number unless it subtracts or joins: "5-3", "x - 3" and "3-5" end in 3, 3 and 5.
_MINUS = f"[-{MINUS_SIGNS}]"
_NUMBER = re.compile(
    rf"(?P<sign>(?<![\w.)\]}}%]){_MINUS}(?:(?=[\d.])|\s?(?=\\?[$€£¥])))?(?:\\?[$€£¥]\s?(?P<minus>{_MINUS})?)?"
    r"(?P<digits>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    rf"(?:[eE](?P<exponent>(?:\+|{_MINUS})?\d+)(?!\w))?"
)
_LONGEST, _HIGHEST = 1000, 1000  # digits of a number and its exponent; what is beyond is no answer to anything
_REFERENCE_NUMBER = re.compile(r"\d*\.?\d+")
_PHRASE = re.compile(r"(?:answer\s+is|answer\s*:|####)\s*:?\s*", re.IGNORECASE)


def check_rules(rules: str) -> None:
    """ValueError unless `rules` is one of RULES."""
    if rules not in RULES:
        raise ValueError(f"rules={rules!r}: there are {' and '.join(RULES)}")


def last_number(text: str, rules: str = "fixed") -> Fraction | None:
    """The last number of a text, exact; None if there is none, or if it has more than 1000 digits or powers of ten.

    "fixed": with its sign, thousands separators, decimals, an exponent ("1e5"), a currency before it ("-$1,080.50"); a
    full stop after it is not part of it. "reference": the last match of `\\d*\\.?\\d+`, which reads "-1,080" as 80,
    "7." as 7 and "1e5" as 5.
    """
    check_rules(rules)
    if rules == "reference":
        matches = _REFERENCE_NUMBER.findall(text)
        return _fraction(matches[-1]) if matches else None
    numbers = list(_NUMBER.finditer(text.replace("{,}", ",")))
    if not numbers:
        return None
    found = numbers[-1]
    size = _fraction(found["digits"].replace(",", ""), re.sub(_MINUS, "-", found["exponent"] or "0"))
    return -size if size is not None and (found["sign"] or found["minus"]) else size


def _fraction(digits: str, exponent: str = "0") -> Fraction | None:
    if len(digits) > _LONGEST or len(exponent) > 9 or abs(int(exponent)) > _HIGHEST:
        return None
    return Fraction(digits) * Fraction(10) ** int(exponent)


def _marked(completion: str) -> Fraction | None:
    """The number that a completion marks as its answer; a box is read as arithmetic where it is that."""
    if boxed := last_boxed(completion):
        found = None if re.search(r"\d\s+\d", boxed) else value(latex.normalize(boxed[: latex.LONGEST]))
        return found if isinstance(found, Fraction) else last_number(boxed)
    return last_number(completion.partition("####")[2].strip().split("\n")[0])


def number_correct(completion: str, gold: str, rules: str = "fixed") -> bool:
    """Whether the completion's last number is the gold text's. Without a number it is wrong.

    "fixed": where the completion marks an answer (the last box, whose fractions and sums count by their values, or the
    first line after "####"), that one's. Raises ValueError for a gold text without a number.
    """
    wanted = last_number(gold, rules)
    if wanted is None:
        raise ValueError(f"the gold answer {gold!r:.80} has no number")
    if rules == "fixed":
        found = _marked(completion)
        return (last_number(completion, rules) if found is None else found) == wanted
    return last_number(completion, rules) == wanted


def math_answer(completion: str, rules: str = "fixed") -> str | None:
    """The answer that a completion gives: LaTeX, or None.

    "fixed": the last box, else what follows the last "answer is" or "Answer:" on its line. "reference": the phrase
    first, then the box.
    """
    check_rules(rules)
    boxed, said = last_boxed(completion), _after_phrase(completion)
    first, second = (boxed, said) if rules == "fixed" else (said, boxed)
    return first if first is not None else second


def _after_phrase(completion: str) -> str | None:
    *_, line = [None, *_PHRASE.split(completion)[1:]]
    line = line.split("\n")[0].strip() if line else ""
    if line.lstrip("$* ([").startswith(("\\boxed", "\\fbox")):
        return last_boxed(line)
    if math := re.match(r"\$+([^$]+)\$", line) or re.match(r"\\[(\[](.+?)\\[)\]]", line):
        return math[1]
    return re.split(r"\.\s", line)[0].strip().rstrip(".") or None


def math_correct(completion: str, gold: str, rules: str = "fixed") -> bool:
    r"""Whether the completion's answer equals the gold one; without an answer it is wrong.

    gold: the answer alone (`\frac{1}{2}`). "fixed": `latex.equal`. "reference": that, or two numbers within 1e-4 of
    each other relative to the gold one, or of 100 times or a hundredth of it; sympy's equality, which it tries last,
    is left to `latex.equal`.
    """
    answer = math_answer(completion, rules)
    if answer is None:
        return False
    if latex.equal(answer, gold):
        return True
    return rules == "reference" and _close(answer, gold)


def _close(answer: str, gold: str) -> bool:
    ours, theirs = (value(latex.normalize(text)) for text in (answer, gold))
    if ours is None or theirs is None or isinstance(ours, complex) or isinstance(theirs, complex):
        return False
    return any(abs(float(ours) - float(theirs) * by) <= 1e-4 * abs(float(theirs) * by) for by in (1, 100, 0.01))
