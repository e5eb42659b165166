"""Two attempts from many predictions of one test: a vote in groups, and a vote of the groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from seal_jax.data.arc import Grid
from seal_jax.data.arc.rules import Rules, check_rules

IDENTITY = "identity"
# The groups that nominate, besides the group of all. (Nothing is asked under Rotate(270), whose inverse is Rotate(90).)
NOMINATING = (IDENTITY, "Transpose()", "Flip(0)", "Flip(1)", "Rotate(180)", "Rotate(270)")
SEATS = 3


class Prediction(NamedTuple):
    """A predicted grid, already taken back, and the name of the augmenter that took it back (None: it was not)."""

    grid: Grid
    inverse: str | None = None


def vote(predictions: Sequence[Prediction], rule: Rules = "ours") -> tuple[Grid | None, Grid | None]:
    """The first and second attempt; (None, None) without predictions, one grid twice if no other was predicted.

    Predictions are grouped by `inverse`. The group of all and each of NOMINATING nominate three grids: their most
    frequent ones, the first again in seats that are left. The two grids nominated most often are the attempts.

    Ties, in a group and among nominations, go to the grid with more predictions without an augmentation, then to the
    one with more predictions in all, then to the one predicted first. So the result depends on nothing but the list.

    rule "reference" is the released code with its own ties: a seat that is left goes to the grid made of each row's
    most frequent value (then column's), and where second and third place have equally many nominations, and there are
    predictions without an augmentation, the second attempt is the third-placed grid unless the second has more of
    those; so both attempts can be the same grid while there are others. Where the released code follows the order of a
    set, this takes the order above. ValueError for another rule.
    """
    check_rules(rule, "rule")
    if not predictions:
        return None, None
    everyone = [prediction.grid for prediction in predictions]
    groups: dict[str, list[Grid]] = {}
    for grid, inverse in predictions:
        groups.setdefault(inverse or IDENTITY, []).append(grid)
    plain = Counter(groups.get(IDENTITY, ()))
    order = _Order(plain, Counter(everyone), {grid: -i for i, grid in reversed(list(enumerate(everyone)))})
    nominating = [everyone, *(groups[name] for name in NOMINATING if name in groups)]
    ballots = [grid for group in nominating for grid in _candidates(group, order, rule)]
    first, second, third = _candidates(ballots, order, rule)
    counts = Counter(ballots)
    if rule == "reference" and plain and counts[second] == counts[third] and plain[second] <= plain[third]:
        second = third
    return first, second


class _Order(NamedTuple):
    """What breaks a tie: predictions without an augmentation, predictions in all, and who came first."""

    plain: Counter[Grid]
    all: Counter[Grid]
    place: dict[Grid, int]

    def of(self, grid: Grid) -> tuple[int, int, int]:
        return self.plain[grid], self.all[grid], self.place.get(grid, -len(self.place) - sum(self.all.values()))


def _candidates(group: Sequence[Grid], order: _Order, rule: str) -> list[Grid]:
    counts = Counter(group)
    ranked = sorted(counts, key=lambda grid: (counts[grid], *order.of(grid)), reverse=True)
    spare = _majorities(group, ranked) if rule == "reference" and len(ranked) < SEATS else [ranked[0]] * SEATS
    return [*ranked, *spare][:SEATS]


def _majorities(group: Sequence[Grid], ranked: Sequence[Grid]) -> list[Grid]:
    """The most frequent value of each row, and of each column, among the grids of the most frequent shape."""
    shapes = Counter((len(grid), len(grid[0])) for grid in group)
    best = max((_shape(grid) for grid in ranked), key=shapes.__getitem__)
    alike = [grid for grid in sorted(group, key=ranked.index) if _shape(grid) == best]
    rows = tuple(Counter(row).most_common(1)[0][0] for row in zip(*alike))
    columns = [Counter(column).most_common(1)[0][0] for column in zip(*(zip(*grid) for grid in alike))]
    return [rows, tuple(zip(*columns))]


def _shape(grid: Grid) -> tuple[int, int]:
    return len(grid), len(grid[0])
