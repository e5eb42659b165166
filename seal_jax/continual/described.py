"""What functions have been made with: the settings in closures, partials and named tuples, as flat plain data."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.core
import numpy as np

UNSEEN = ("remat", "chunk")
"""Names of settings that change no number by more than rounding."""
DEEPEST = 40
LISTED = 64  # numbers of an array that are written down


def described(method: Any) -> dict[str, Any]:
    """Numbers, words, small arrays and the names of functions in `method`, by where they are.

    Of what else there is the type is written, and of large arrays the shape. It is the same in every process, and
    differs for methods that differ in a setting that is held in a closure, a partial, a dataclass or a named tuple.
    """
    return dict(_parts(method, "method", set(), 0))


def _parts(value: Any, where: str, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    """`seen`: the functions and objects that were met before, since methods that wrap others share them."""
    if value is None or isinstance(value, bool | int | float | str):
        yield where, value if not isinstance(value, float) or np.isfinite(value) else str(value)
    elif isinstance(value, jax.Array | np.ndarray | np.generic) and not isinstance(value, jax.core.Tracer):
        yield where, _array(value)
    elif id(value) not in seen and depth < DEEPEST:
        if type(value) not in (tuple, list, dict):  # equal ones may be one object or several
            seen.add(id(value))
        yield where, _name(value)
        for name, part in _inside(value).items():
            if name not in UNSEEN:
                yield from _parts(part, f"{where}.{name}", seen, depth + 1)


def _inside(value: Any) -> dict[str, Any]:
    """What a value is made of, by name; nothing for one that cannot be looked into."""
    if isinstance(value, functools.partial):
        return {"func": value.func, **dict(zip(map(str, range(len(value.args))), value.args)), **value.keywords}
    if isinstance(value, types.MethodType):
        return {"self": value.__self__}
    if callable(value) and hasattr(value, "__wrapped__"):
        value = inspect.unwrap(value)
    if isinstance(value, types.FunctionType):
        return _closed_over(value)
    if isinstance(value, type | types.ModuleType):
        return {}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, Mapping):
        return {str(name): part for name, part in value.items()}
    return dict(zip(map(str, range(len(value))), value)) if isinstance(value, list | tuple) else {}


def _closed_over(function: types.FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    defaults = [p for p in inspect.signature(function).parameters.values() if p.default is not p.empty]
    return {**{p.name: p.default for p in defaults}, **found}


def _array(value: Any) -> Any:
    if value.size <= LISTED and not jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return np.asarray(value).tolist()
    return f"{value.dtype} {value.shape}"


def _name(value: Any) -> str:
    return getattr(value, "__qualname__", type(value).__qualname__)
