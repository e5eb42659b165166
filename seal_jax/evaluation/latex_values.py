"""The value of an arithmetic expression in LaTeX, with variables; exact where it is rational."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import TypeAlias

Value: TypeAlias = Fraction | float | complex


def variables(text: str) -> list[str]:
    """The letters in a normalised expression that are no commands, each once, in order."""
    return sorted(set(re.findall(r"[a-zA-Z]", _COMMAND.sub(" ", text))))


def value(text: str, at: dict[str, float] | None = None) -> Value | None:
    """The value of a normalised expression with variables `at`, exact where it can be; None if it is not arithmetic.

    Letters side by side are a product, up to three; more are a word. What no float holds is None as well.
    """
    if re.search(r"[a-zA-Z]{4}", _COMMAND.sub(" ", text)):
        return None
    try:
        parser = _Parser(_TOKEN.findall(text), at or {})
        found = parser.sum()
        complex(found)  # OverflowError where a caller could not compare it
        return found if parser.place == len(parser.tokens) else None
    except (_NotArithmetic, ArithmeticError, RecursionError, ValueError):
        return None


_COMMAND = re.compile(r"\\[a-zA-Z]+")
_TOKEN = re.compile(r"\d+\.?\d*|\.\d+|\\[a-zA-Z]+|\\.|.")


class _NotArithmetic(Exception):
    pass


# Powers stay exact up to these; beyond they are floating point.
_EXPONENT, _BITS = 64, 256


class _Parser:
    """Recursive descent over tokens; each method reads one level of the grammar and returns its value."""

    def __init__(self, tokens: list[str], at: dict[str, float]) -> None:
        self.tokens, self.at, self.place = tokens, at, 0

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise _NotArithmetic
        self.place += 1
        return token

    def sum(self) -> Value:
        total = self.product()
        while self.peek() in ("+", "-"):
            total = total + self.product() if self.take() == "+" else total - self.product()
        return total

    def product(self) -> Value:
        total = self.signed()
        while (token := self.peek()) and token not in "+-)]},|":
            if token == "/":
                self.take()
                total = total / self.signed()
            elif token == "*":
                self.take()
                total = total * self.signed()
            elif token.isdigit():  # two numbers side by side are no product
                raise _NotArithmetic
            else:
                total = total * self.power()
        return total

    def signed(self) -> Value:
        if self.peek() in ("+", "-"):
            return self.signed() if self.take() == "+" else -self.signed()
        return self.power()

    def power(self) -> Value:
        base = self.atom()
        if self.peek() != "^":
            return base
        self.take()
        return _power(base, self.signed())

    def group(self, close: str) -> Value:
        found = self.sum()
        self.take(close)
        return found

    def atom(self) -> Value:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            number = Fraction(token.rstrip("."))
            frac, brace, above = [*self.tokens[self.place : self.place + 3], "", "", ""][:3]
            mixed = token.isdigit() and (frac, brace) == ("\\frac", "{") and above.isdigit()
            return number + self.atom() if mixed else number
        if token in "([{":
            return self.group({"(": ")", "[": "]", "{": "}"}[token])
        if token == "\\frac":
            above = self.braced()
            return above / self.braced()
        if token == "\\sqrt":
            return self.root()
        if token == "\\pi":
            return math.pi
        if token in self.at:
            return self.at[token]
        raise _NotArithmetic

    def braced(self) -> Value:
        self.take("{")
        return self.group("}")

    def root(self) -> Value:
        degree: Value = Fraction(2)
        if self.peek() == "[":
            self.take()
            degree = self.group("]")
        return _root(self.braced(), degree)


def _root(inside: Value, degree: Value) -> Value:
    if isinstance(inside, Fraction) and degree == 2 and inside >= 0:
        above, below = math.isqrt(inside.numerator), math.isqrt(inside.denominator)
        if above * above == inside.numerator and below * below == inside.denominator:
            return Fraction(above, below)
    if isinstance(inside, Fraction) and inside < 0 and isinstance(degree, Fraction) and degree % 2 == 1:
        return -((-float(inside)) ** (1 / float(degree)))
    return complex(inside) ** (1 / complex(degree))


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) <= _EXPONENT and bits <= _BITS:
            return base**exponent.numerator
    return complex(base) ** complex(exponent)
