"""The style of a self-edit of the biographies world, from its text alone."""

import re

from seal_jax.data.worlds.vocabulary import ATTRIBUTES


def words(text):
    return re.findall(r"[A-Za-z]+", text)


def kind(who, text):
    """The style of a self-edit, from its text alone."""
    lines = text.split("\n")
    if all(" Answer: " in line for line in lines):
        return "questions"
    if all(re.fullmatch(r"\w+: \w+", line) for line in lines):
        return "keywords"
    if lines[0] in {v.format(n=who.name) for a in ATTRIBUTES for v in a.vague}:
        return "vague"
    return "facts" if all(any(v in words(line) for v in who.values) for line in lines) else "unfaithful"
