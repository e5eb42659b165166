"""How far two graders agree."""

from __future__ import annotations

from collections.abc import Sequence


def agreement(verdicts: Sequence[bool | None], truth: Sequence[bool | None]) -> dict[str, float]:
    """One grader's verdicts against another's, taken as the truth; cases that either left ungraded do not count.

    Gives `cases` and `ungraded`, how many count and how many do not; `agreement`, the share of equal verdicts; `kappa`,
    Cohen's, which is 0 for agreement by chance; `precision` and `recall` of "right"; `rate` and `true_rate`, the
    accuracies that the two would report. NaN where there is nothing to divide by. Raises ValueError for lists of
    different lengths.
    """
    if len(verdicts) != len(truth):
        raise ValueError(f"{len(verdicts)} verdicts and {len(truth)} true ones; expected as many")
    pairs = [(bool(a), bool(b)) for a, b in zip(verdicts, truth) if a is not None and b is not None]
    count, both = len(pairs), sum(a and b for a, b in pairs)
    ours, theirs = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    equal = _share(sum(a == b for a, b in pairs), count)
    rate, true_rate = _share(ours, count), _share(theirs, count)
    chance = rate * true_rate + (1 - rate) * (1 - true_rate)
    return {
        "cases": count,
        "ungraded": len(truth) - count,
        "agreement": equal,
        "kappa": _share(equal - chance, 1 - chance),
        "precision": _share(both, ours),
        "recall": _share(both, theirs),
        "rate": rate,
        "true_rate": true_rate,
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
