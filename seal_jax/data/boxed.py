r"""What stands in `\boxed{...}`: where MATH keeps its answers, and where models are asked to put theirs."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\f?box(?:ed)?\s*(?=\{)|\\boxed\s+(?=[^\s{])")


def last_boxed(text: str) -> str | None:
    r"""What is in the last complete `\boxed{...}` or `\fbox{...}`, nested braces and all; None if there is none."""
    found, braces = None, _closings(text)
    for match in _BOX.finditer(text):
        if text[match.end()] != "{":  # \boxed 5
            found = re.split(r"[\s$]", text[match.end() :], maxsplit=1)[0]
        elif (end := braces.get(match.end(), -1)) >= 0:
            found = text[match.end() + 1 : end]
    return found


def _closings(text: str) -> dict[int, int]:
    """`closing` of every brace at once, so that a text of many boxes takes no longer than its length."""
    found, opened = {}, []
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            found[opened.pop()] = match.start()
    return found


def closing(text: str, at: int) -> int:
    """Where the brace that opens at `at` closes, -1 if it does not; escaped braces are text."""
    depth, place = 0, at
    while place < len(text):
        if text[place] == "\\":
            place += 2
            continue
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place
        place += 1
    return -1
