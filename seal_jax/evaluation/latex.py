"""Mathematical answers as people write them in LaTeX: one spelling for all, values, and what equals what.

No computer algebra: expressions are arithmetic with variables, compared by their values, exact where they are rational.
"""

from __future__ import annotations

import cmath
import re
from fractions import Fraction

from seal_jax.data.boxed import closing
from seal_jax.evaluation.latex_values import value, variables

MINUS_SIGNS = "−–‒‑－"
"""What people type for a minus besides the hyphen: minus, en dash, figure dash, non-breaking hyphen, full width."""
_DROPPED = re.compile(
    r"\\(?:left|right|displaystyle|bigl?|Bigl?|bigr|Bigr|qquad|quad|limits|!|,|;|:| )(?![a-zA-Z])|[$~]|\\\$|\\?%"
    r"|\^\{?\\(?:circ|degree)\}?|\\degree|\\ "
)
_WORDS = re.compile(r"\\(?:text|mbox|textbf|textit|textrm|mathrm|mathbf|mathit|operatorname)\s*\{([^{}]*)\}")
_UNITS = re.compile(r"(?<=[\d})\]])(?:\s*\\(?:text|mbox|textrm|mathrm)\s*\{[^{}]*\}(?:\^\{?\d\}?)?)+\.?$")
_PLAIN_UNITS = re.compile(r"^([-+]?[\d.,/]*\d)\s*[a-zA-Z][a-zA-Z. ]+(?:\^\{?\d\}?)?$")
_RENAMED = (
    ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"), ("\\cfrac", "\\frac"), ("{,}", ""), ("\\cdot", "*"),
    ("\\times", "*"), ("\\div", "/"), ("\\leq", "\\le"), ("\\geq", "\\ge"), ("\\lbrace", "\\{"), ("\\rbrace", "\\}"),
    *((sign, "-") for sign in MINUS_SIGNS), ("π", "\\pi"), ("√", "\\sqrt"), ("∞", "\\infty"), ("\n", " "),
)  # fmt: skip
_THOUSANDS = re.compile(r"(?<![\d.])(\d{1,3}(?:,\d{3})+)(?![\d,])")
_NAMED = re.compile(r"^[a-zA-Z](?:\([a-zA-Z]\))?(?:=|\\in)(?=.)")
_FRACTION = re.compile(r"\\frac\s*(\{|[0-9a-zA-Z])")
_ROOT = re.compile(r"\\sqrt\s*([0-9a-zA-Z])")
_INDEX = re.compile(r"_\{([0-9a-zA-Z])\}")
_ROW = "\0"  # stands for the end of a matrix's row, whose backslashes begin no command
_MATRIX = re.compile(r"^\\begin\{([pbvBV]?matrix)\}(.*)\\end\{\1\}$", re.DOTALL)

LONGEST = 1000
"""Characters of an answer; a longer one equals only itself."""


def normalize(text: str) -> str:
    """One spelling: no spaces, units, dollars, percent and degree signs, sizes of brackets, or name before "=".

    A text longer than LONGEST stays as it is.
    """
    if len(text) > LONGEST:
        return text
    text = text.strip().strip("$").strip().rstrip(".").replace("\\\\", _ROW)
    for old, new in _RENAMED:
        text = text.replace(old, new)
    text = _UNITS.sub("", text)
    text = re.sub(r"\\?\s(?:and|or)\s|\\(?:text|mbox)\{\s*(?:and|or)\s*\}", ",", text)
    text = _DROPPED.sub("", _WORDS.sub(r"\1", text))
    if plain := _PLAIN_UNITS.match(text.strip()):
        text = plain[1]
    text = _NAMED.sub("", _INDEX.sub(r"_\1", re.sub(r"\s+", "", text)))
    if _THOUSANDS.sub("", text).strip("-+") in ("", ".") or re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")
    return _braced(text).replace(_ROW, "\\\\")


def _braced(text: str) -> str:
    r"""`\frac12` and `\frac1{72}` as `\frac{1}{2}`, `\frac{1}{72}`; `\sqrt3` as `\sqrt{3}`."""
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    out, at = "", 0
    while match := _FRACTION.search(text, at):
        out += text[at : match.start()] + "\\frac"
        at = match.start(1)
        for _ in range(2):
            if at < len(text) and text[at] == "{":
                end = closing(text, at)
                part = text[at : end + 1] if end >= 0 else text[at:]
                out, at = out + _braced_inside(part), at + len(part)
            elif at < len(text) and (text[at].isalnum()):
                out, at = out + "{" + text[at] + "}", at + 1
    return out + text[at:]


def _braced_inside(part: str) -> str:
    return "{" + _braced(part[1:-1]) + "}" if part.endswith("}") else part


def equal(left: str, right: str, tolerance: float = 1e-4) -> bool:
    r"""Whether two answers are the same: as text, as values, or as tuples, intervals, sets and lists of such.

    Sets (`\{1, 2\}`) and lists without brackets are in any order; `\pm` stands for two values. Values of whole numbers,
    fractions and roots have to agree exactly (roots to 1e-9); where one has a decimal point, to the relative
    `tolerance`. Expressions with variables are equal if they are at three points.
    """
    return _same(normalize(left), normalize(right), tolerance)


def _same(left: str, right: str, tolerance: float) -> bool:
    if left == right:
        return bool(left)
    if max(len(left), len(right)) > LONGEST:
        return False
    (kind, ours), (other, theirs) = _parts(left), _parts(right)
    if kind != other or len(ours) != len(theirs):
        return False
    if kind == "one":
        return _equal_values(ours[0], theirs[0], tolerance)
    if kind not in ("set", "list"):
        return all(_same(a, b, tolerance) for a, b in zip(ours, theirs))
    rest = list(theirs)
    for part in ours:
        match = next((n for n, b in enumerate(rest) if _same(part, b, tolerance)), None)
        if match is None:
            return False
        del rest[match]
    return True


def _parts(text: str) -> tuple[str, list[str]]:
    """What kind of collection an answer is ("one", "set", "list", its brackets, or a matrix) and its members."""
    if matrix := _MATRIX.match(text):
        rows = [row.split("&") for row in matrix[2].removesuffix("\\\\").split("\\\\")]
        return f"{matrix[1]} {[len(row) for row in rows]}", [cell for row in rows for cell in row]
    kind, inside = "list", text
    if text.startswith("\\{") and text.endswith("\\}"):
        kind, inside = "set", text[2:-2]
    elif text[:1] in ("(", "[") and text[-1:] in (")", "]") and len(_split(text)) == 1 and _split(text[1:-1])[1:]:
        kind, inside = text[0] + text[-1], text[1:-1]
    members = [m for part in _split(inside) for m in _signs(part)]
    return ("one", members) if kind == "list" and len(members) == 1 else (kind, members)


def _signs(part: str) -> list[str]:
    if "\\pm" not in part and "\\mp" not in part:
        return [part]
    return [part.replace("\\pm", a).replace("\\mp", b) for a, b in (("+", "-"), ("-", "+"))]


def _split(text: str) -> list[str]:
    """At commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for place, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth <= 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


_POINTS = (0.7310585786, 1.3862943611, 1.9021605823)


def _equal_values(left: str, right: str, tolerance: float) -> bool:
    names = sorted({*variables(left), *variables(right)})
    if sorted(variables(left)) != sorted(variables(right)):
        return False
    decimal = any("." in text for text in (left, right))
    for shift in range(len(_POINTS) if names else 1):
        at = {name: _POINTS[(shift + n) % 3] + n / 7 for n, name in enumerate(names)}
        ours, theirs = value(left, at), value(right, at)
        if ours is None or theirs is None:
            return False
        if isinstance(ours, Fraction) and isinstance(theirs, Fraction) and not decimal:
            if ours != theirs:
                return False
        elif not cmath.isclose(complex(ours), complex(theirs), rel_tol=tolerance if decimal else 1e-9, abs_tol=1e-12):
            return False
    return True
