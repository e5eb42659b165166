"""The figures that a file states about itself beside those that are computed from what it lists."""

from __future__ import annotations

from collections.abc import Mapping

from seal_jax.data import json_fields
from seal_jax.seal.recorded.files import Recorded

TOLERANCE = 1.5e-4  # of numbers that both have four decimals


def settle(found: Recorded, overall: Mapping[str, float], verdicts: bool) -> tuple[dict[str, float], list[str]]:
    """`overall` as it is to be given (the same keys, 4 decimals, NaN for unknown), and notes on what the file states.

    verdicts: whether all figures are of verdicts. These stand as they are; a stated one that differs in more than the
    last decimal is noted. Figures of stored statistics, which may be rounded, cannot tell the last decimal: there the
    file's own figure is given if it differs by no more, and also if nothing is left to compute it from. ValueError
    naming file and key for a figure that is no number.
    """
    listed = found.value.get("overall")
    listed = listed if isinstance(listed, dict) else {}
    given, notes = dict(overall), []
    for key, value in overall.items():
        theirs = round(json_fields.number(listed.get(key), f"{found.path}: overall, {key!r}"), 4)
        given[key], note = _one(key, value, theirs, key in listed, verdicts)
        notes += [note] if note else []
    return given, notes


def _one(key: str, value: float, theirs: float, listed: bool, verdicts: bool) -> tuple[float, str]:
    """The figure to give, and what there is to say about it."""
    if value != value:
        if verdicts or not abs(theirs) <= 1:
            return value, f"{key} is null: nothing it could be computed from is recorded"
        return (
            theirs,
            f"{key} {theirs} is copied: the file states it, and nothing it could be computed from is recorded",
        )
    if theirs != theirs:
        return value, f"the file states {key} null; recomputed, it is {value}" if listed else ""
    if abs(theirs - value) > TOLERANCE:
        return value, f"the file states {key} {theirs}; recomputed, it is {value}"
    if theirs != value and not verdicts:
        which = "the stored values it is a mean of, which may be rounded, give"
        return theirs, f"{key} {theirs} is the file's own figure; {which} {value}"
    return value, ""
