"""Which of a model's responses are taken as edits, how many were asked for, and when to stop asking."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Literal, NamedTuple

from seal_jax.data.arc.rules import Rules, check_rules
from seal_jax.seal.arc import reference
from seal_jax.seal.arc.edits import parse_edit
from seal_jax.seal.arc.schema import LIMITS, EditConfig, Limits, Refused

ATTEMPTS = 10
"""Responses looked at for each edit of the quota, on average, unless another number is given."""


class Draws(NamedTuple):
    """Responses as they were taken.

    accepted: positions of the responses that count, ascending, with their edits in `edits` (by "reference" rules some
    are Refused: accepted there, and not to be trained with). refused: position and reason of the others. consumed: how
    many were looked at. end: "done" when the quota is full, "would_ask_again" when the responses ran out before,
    "capped" when as many as allowed were looked at, "crash" where the released code would stop with an error.
    """

    accepted: list[int]
    edits: list[EditConfig | Refused]
    refused: list[tuple[int, str]]
    consumed: int
    end: Literal["done", "would_ask_again", "capped", "crash"]


def accept_responses(
    responses: Iterable[str | None],
    quota: int,
    *,
    skip_repeated: bool = False,
    most: int | Literal["endless"] | None = None,
    limits: Limits = LIMITS,
    rules: Rules = "ours",
) -> Draws:
    """Take responses in order until `quota` of them are edits, or `most` were looked at.

    most: a number of 1 or more; None: ATTEMPTS for each edit of the quota; "endless": all there are, as the released
    code, which a model that writes no edits never lets go.
    responses may be a generator that asks the model; it is advanced no further than needed. skip_repeated: an edit that
    was taken before is refused. By "reference" rules an edit is what has the two blocks, and two are the same if the
    blocks are; anything else that is JSON ends the run. ValueError for other rules and for another `most`.
    """
    check_rules(rules)
    most = _most(most, quota)
    taken = Draws([], [], [], 0, "would_ask_again")
    seen: set[Hashable] = set()
    if quota < 1:
        return taken._replace(end="done")
    for position, text in enumerate(responses):
        taken = taken._replace(consumed=position + 1)
        edit, key, crash = _read(text, limits, rules)
        if crash:
            return taken._replace(end="crash")
        if key is None or (skip_repeated and key in seen):
            reason = edit.reason if key is None and isinstance(edit, Refused) else "the same as an earlier edit"
            taken.refused.append((position, reason))
        else:
            seen.add(key)
            taken.accepted.append(position)
            taken.edits.append(edit)
        if len(taken.accepted) == quota:
            return taken._replace(end="done")
        if taken.consumed == most:
            return taken._replace(end="capped")
    return taken


def adapter_texts(
    draws: Draws, responses: Sequence[str], n_sequences: Sequence[int], limits: Limits = LIMITS
) -> dict[int, int] | None:
    """Adapter number to the position of the first response with its text, as the released code numbers them.

    n_sequences: how many training sequences each accepted edit has. One without any gets no adapter and uses up no
    number. None where the released code trains nothing because the quota was not reached or it stops with an error.
    """
    if draws.end != "done":
        return None
    numbers: dict[int, int] = {}
    for position, n in zip(draws.accepted, n_sequences):
        outcome = reference.resolve(responses[position], n, limits).outcome
        if outcome == "reference_crashes":
            return None
        if outcome != "dropped_no_training_data":
            numbers[len(numbers)] = list(responses).index(responses[position])
    return numbers


def _most(most: int | Literal["endless"] | None, quota: int) -> int | None:
    """How many responses are looked at, None for all."""
    if most is None:
        return ATTEMPTS * quota
    if most == "endless":
        return None
    if type(most) is not int or most < 1:
        raise ValueError(f'most {most!r}: give a number of responses of 1 or more, or "endless"')
    return most


def _read(text: str | None, limits: Limits, rules: Rules) -> tuple[EditConfig | Refused, Hashable, bool]:
    """The edit, what it is compared by (None if it does not count), and whether the run ends here."""
    edit = parse_edit(text, limits, rules)
    if rules == "ours":
        return edit, None if isinstance(edit, Refused) else edit, False
    return edit, reference.config_key(text), reference.blocks_of(text) == "reference_crashes"
