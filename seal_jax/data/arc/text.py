"""Grids and tasks as the text a language model reads and writes."""

from __future__ import annotations

import re
from typing import NamedTuple

from seal_jax.data.arc.rules import Rules, check_rules
from seal_jax.data.arc.tasks import COLORS, LARGEST_SIDE, Grid, Task

ANSWER_END = "#"
_FENCE = re.compile(r"```[a-z]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_DIGITS = re.compile(r"[0-9]+")


class Messages(NamedTuple):
    """The three turns of one test of a task; the assistant's is empty where the output is not known."""

    system: str
    user: str
    assistant: str


def grid_text(grid: Grid) -> str:
    """A grid as text: bracketed rows of digits with single spaces, rows after the first on lines of their own."""
    return "[" + "\n ".join("[" + " ".join(map(str, row)) + "]" for row in grid) + "]"


def parse_grid(text: str, rule: Rules = "ours") -> Grid | None:
    """The grid a model wrote, or None if the text is not one; any text is taken.

    Brackets and runs of spaces do not matter, one line is one row, a fenced block is unwrapped, and the `#` that ends
    an answer may be missing. "ours": what follows the `#` is left out; rows of different lengths, numbers other than
    0-9 and sides over 30 are no grid. "reference": every `#` is dropped, any integers will do, and rows of different
    lengths are reshaped where their number divides that of the cells. ValueError for another rule.
    """
    check_rules(rule, "rule")
    fenced = _FENCE.search(text)
    text = fenced[1] if fenced else text
    text = text.partition(ANSWER_END)[0] if rule == "ours" else text.replace(ANSWER_END, "")
    lines = [re.sub(r"[\[\]]", " ", line).split() for line in text.strip().split("\n")]
    if rule == "reference":
        return _reshaped([cell for line in lines for cell in line], len(lines))
    if not all(len(line) == len(lines[0]) for line in lines) or not 1 <= len(lines) <= LARGEST_SIDE:
        return None
    if not 1 <= len(lines[0]) <= LARGEST_SIDE or not all(_is_color(cell) for line in lines for cell in line):
        return None
    return tuple(tuple(map(int, line)) for line in lines)


def demo_text(task: Task) -> str:
    """The demonstrations, each as `<input> -> <output>#` and a line end."""
    return "".join(f"{grid_text(i)} -> {grid_text(o) if o else ''}{ANSWER_END}\n" for i, o in task.demos)


def messages(task: Task, test: int = 0, instruction: str = "") -> Messages:
    """The turns that pose one test: instruction and demonstrations, the test input, and the answer if it is known."""
    question, answer = task.tests[test]
    assistant = grid_text(answer) + ANSWER_END if answer is not None else ""
    return Messages(instruction + demo_text(task), f"{grid_text(question)} -> ", assistant)


def _is_color(cell: str) -> bool:
    return bool(_DIGITS.fullmatch(cell)) and len(cell) < 4 and int(cell) < COLORS


def _reshaped(cells: list[str], rows: int) -> Grid | None:
    if not cells or len(cells) % rows or not all(re.fullmatch(r"[+-]?[0-9]{1,9}", cell) for cell in cells):
        return None
    numbers, columns = [int(cell) for cell in cells], len(cells) // rows
    return tuple(tuple(numbers[r * columns : (r + 1) * columns]) for r in range(rows))
