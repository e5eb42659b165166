"""Whose rules are followed where the released code of SEAL does something else: "ours" or "reference"."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

Rules = Literal["ours", "reference"]


def check_rules(rules: str, parameter: str = "rules") -> None:
    """ValueError that names the parameter and the known rules if `rules` is none of them."""
    check_one_of(rules, get_args(Rules), parameter)


def check_one_of(value: str, known: Collection[str], parameter: str) -> None:
    """ValueError that names the parameter and what is known if `value` is nothing of that."""
    if value not in known:
        raise ValueError(f"{parameter} {value!r} is not one of {', '.join(known)}")
