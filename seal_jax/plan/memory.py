"""What the compiler says about memory: its refusals, and its account of a program that fits."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

GIB = 2**30
_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_AMOUNT = r"([\d.]+)([KMGT]?)B?"
# Two stages of the compiler refuse, in their own words: an estimate before any work, and the final allocation.
_REFUSALS = (
    re.compile(rf"\({_AMOUNT}\) exceeds available HBM \({_AMOUNT}\)"),
    re.compile(rf"Used {_AMOUNT} of {_AMOUNT} hbm"),
)


class Refusal(NamedTuple):
    """Bytes of a device's memory that a program needs, by the compiler's estimate, and that there are."""

    needed: int
    available: int


def refusal(message: str) -> Refusal | None:
    """What a compiler's error says about memory; None if it is another error."""
    for pattern in _REFUSALS:
        if match := pattern.search(message):
            needed, available = (round(float(n) * _UNITS[u]) for n, u in (match.group(1, 2), match.group(3, 4)))
            return Refusal(needed, available)
    return None


def account(compiled: Any) -> dict[str, float]:
    """The memory of a compiled program on each device in GiB, as the compiler accounts for it."""
    stats = compiled.memory_analysis()
    fields = {
        "peak_gib": stats.peak_memory_in_bytes,
        "arguments_gib": stats.argument_size_in_bytes,
        "temporaries_gib": stats.temp_size_in_bytes,
        "output_gib": stats.output_size_in_bytes,
        "aliased_gib": stats.alias_size_in_bytes,
        "code_gib": stats.generated_code_size_in_bytes,
    }
    return {name: gib(value) for name, value in fields.items()}


def gib(size: float) -> float:
    """Bytes as GiB, to a thousandth."""
    return round(size / GIB, 3)
