"""What a caller may pass, by kind: numbers, token ids, rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SMALLEST, LARGEST = 1e-30, 1e30  # divisors of float32 logits that neither vanish nor overflow
INT32 = np.iinfo(np.int32)


def is_number(value: Any, kind: Any = np.number) -> bool:
    """Whether `value` is one number of Python, numpy or JAX, and no bool; kind: `np.integer` for whole ones only."""
    known = isinstance(value, int | float | np.generic | np.ndarray | jax.Array)
    return known and np.ndim(value) == 0 and bool(jnp.issubdtype(np.asarray(value).dtype, kind))


def check_number(name: str, value: Any, expected: str, low: float, high: float) -> None:
    """Raise ValueError, "name=value: expected ...", unless `value` is a number from `low` to `high`."""
    if not is_number(value) or not low <= float(value) <= high:
        raise ValueError(f"{name}={value!r}: expected {expected}")


def check_integer(name: str, value: Any, expected: str, low: int, high: int = INT32.max) -> None:
    """Raise ValueError, "name=value: expected ...", unless `value` is an integer from `low` to `high`."""
    if not is_number(value, np.integer) or not low <= value <= high:
        raise ValueError(f"{name}={value!r}: expected {expected}")


def check_row_ids(ids: Sequence[int] | None, prompts: int) -> Sequence[int]:
    """What rows fold into the key, 0, 1, ... by default. Raises ValueError unless they are one int32 per prompt."""
    if ids is None:
        return range(prompts)
    if np.shape(ids) != (prompts,):
        found = f"{len(ids)} row_ids" if np.ndim(ids) else f"row_ids={ids!r}"
        raise ValueError(f"{found} for {prompts} prompts: expected one each")
    for row, n in enumerate(ids):
        check_integer(f"prompt {row}: row_ids", n, "an integer of 32 bits", INT32.min)
    return ids


def check_prompts(prompts: Any, where: str = "") -> None:
    """Raise ValueError, "{where}prompts is one ...", for a single prompt, a mapping, or what has no length."""
    if isinstance(prompts, Mapping):
        raise ValueError(f"{where}prompts is a {type(prompts).__name__}, expected a list of prompts{_hint(prompts)}")
    if not hasattr(prompts, "__len__") or not hasattr(prompts, "__getitem__"):
        raise ValueError(f"{where}prompts is {type(prompts).__name__}, expected a list of prompts")
    first = prompts[0] if len(prompts) else None
    for kind, found in (
        ("string", isinstance(prompts, str)),
        ("list of messages", isinstance(first, Mapping) and "input_ids" not in first),
        ("list of token ids", is_number(first) or getattr(first, "shape", None) == ()),
    ):
        if found:
            raise ValueError(f"{where}prompts is one {kind}: pass a list of prompts")


def check_prompt(name: str, prompt: Any) -> None:
    """Raise ValueError, "{name} is a ...", unless `prompt` can be text, token ids or messages."""
    if isinstance(prompt, Mapping):
        raise ValueError(f"{name} is a {type(prompt).__name__}, expected text, messages or token ids{_hint(prompt)}")
    if not hasattr(prompt, "__len__") or not hasattr(prompt, "__getitem__"):
        raise ValueError(f"{name} is {prompt!r}, expected text, messages or token ids")


def _hint(mapping: Mapping[Any, Any]) -> str:
    return ": pass its ['input_ids']" if "input_ids" in mapping else ""
