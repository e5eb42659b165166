"""Checks of settings: each raises ValueError that names the field and what would be right."""

from __future__ import annotations

from typing import Any, get_args


def at_least(settings: Any, least: int, *fields: str) -> None:
    """Each of the fields is a number of `least` or more."""
    for field in fields:
        if not getattr(settings, field) >= least:  # written so that NaN is refused as well
            raise ValueError(f"{field} {getattr(settings, field)}: use {least} or more")


def above_zero(settings: Any, *fields: str) -> None:
    """Each of the fields is a finite number above 0."""
    for field in fields:
        if not 0 < getattr(settings, field) < float("inf"):
            raise ValueError(f"{field} {getattr(settings, field)}: use a number above 0")


def one_of(settings: Any, field: str, known: Any) -> None:
    """The field is one of the values of the `Literal` type `known`."""
    if getattr(settings, field) not in get_args(known):
        raise ValueError(f"{field} {getattr(settings, field)!r} is not one of {', '.join(get_args(known))}")


def has_targets(settings: Any) -> None:
    """The field `targets` is a tuple of names that is not empty."""
    if not settings.targets or isinstance(settings.targets, str):
        raise ValueError(f'targets {settings.targets!r}: give a tuple of projections such as ("q_proj", "v_proj")')


def counts(settings: Any, field: str) -> None:
    """The field is a tuple of integers of 1 or more that is not empty."""
    value = getattr(settings, field)
    if not value or isinstance(value, str) or not all(type(n) is int and n >= 1 for n in value):
        raise ValueError(f"{field} {value!r}: give a tuple of numbers of 1 or more, such as (1,)")
