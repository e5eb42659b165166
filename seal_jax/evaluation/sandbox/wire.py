"""Values as JSON between the two processes: plain data by value, all else as a reference to the object that stays.

What is read back is made here, of exact built-in and standard types, whatever the other side claims to send. So an
object cannot decide what it equals: a subclass arrives as the plain value in it.
"""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Callable
from typing import Any

_NUMBERS: dict[type, Callable[[Any], list[Any]]] = {
    int: lambda value: ["int", format(int(value), "x")],  # decimal digits are limited
    float: lambda value: ["float", float.hex(value)],
    complex: lambda value: ["complex", float.hex(value.real), float.hex(value.imag)],
    str: lambda value: ["str", str.__str__(value)],
    bytes: lambda value: ["bytes", bytes.hex(value)],
    bytearray: lambda value: ["bytearray", bytearray.hex(value)],
}
_COLLECTIONS = (list, tuple, set, frozenset)
_RANGE = (range, slice)
# Standard types by the name that they are made under, and the arguments that make an equal one.
_STANDARD: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "decimal.Decimal": lambda value: (str(value),),
    "fractions.Fraction": lambda value: (value.numerator, value.denominator),
    "datetime.timedelta": lambda value: (value.days, value.seconds, value.microseconds),
    "datetime.timezone": lambda value: (value.utcoffset(None),),
    "datetime.date": lambda value: (value.year, value.month, value.day),
    "datetime.time": lambda value: (value.hour, value.minute, value.second, value.microsecond, value.tzinfo),
    "datetime.datetime": lambda value: (*value.timetuple()[:6], value.microsecond, value.tzinfo),
    "collections.deque": lambda value: (list(value), value.maxlen),
    "collections.OrderedDict": lambda value: (list(value.items()),),
    "collections.Counter": lambda value: (dict(value),),
}


def encode(value: Any, reference: Callable[[Any], list[Any]]) -> Any:
    """A value as JSON's own types; `reference` names an object that is no plain data.

    Subclasses of plain types are sent as these, numpy's scalars as Python's. RecursionError for what holds itself.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind in _NUMBERS:
        return _NUMBERS[kind](value)
    if kind in _COLLECTIONS or kind is dict:
        return _collection(kind, value, reference)
    if kind in _RANGE:
        return [kind.__name__, [encode(part, reference) for part in (value.start, value.stop, value.step)]]
    if kind is type and getattr(builtins, value.__name__, None) is value:
        return ["type", value.__name__]
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name in _STANDARD:
        return ["made", name, [encode(part, reference) for part in _STANDARD[name](value)]]
    return _derived(value, reference)


def _derived(value: Any, reference: Callable[[Any], list[Any]]) -> Any:
    for base in (*_COLLECTIONS, dict):
        if isinstance(value, base):
            return _collection(base, value, reference)
    for base, convert in _NUMBERS.items():
        if isinstance(value, base):
            return convert(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item"):
        item = value.item()
        return encode(item, reference) if type(item) in (*_NUMBERS, bool) else reference(value)
    return reference(value)


def _collection(kind: type, value: Any, reference: Callable[[Any], list[Any]]) -> list[Any]:
    members = dict.items(value) if kind is dict else kind.__iter__(value)
    if kind is dict:
        return ["dict", [[encode(key, reference), encode(held, reference)] for key, held in members]]
    return [kind.__name__, [encode(member, reference) for member in members]]


_BYTES = {"bytes": bytes, "bytearray": bytearray}
_BY_NAME = {kind.__name__: kind for kind in _COLLECTIONS}


def decode(sent: Any, referred: Callable[[list[Any]], Any]) -> Any:
    """The value that was sent; `referred` finds the object of a reference. Raises whatever wrong JSON brings about."""
    if sent is None or sent is True or sent is False:
        return sent
    kind, first, *rest = sent
    if kind in ("mine", "yours"):
        return referred(sent)
    if kind == "int":
        return int(first, 16)
    if kind == "float":
        return float.fromhex(first)
    if kind == "complex":
        return complex(float.fromhex(first), float.fromhex(rest[0]))
    if kind == "str":
        return str(first)
    if kind in _BYTES:
        return _BYTES[kind].fromhex(first)
    if kind == "dict":
        return {decode(key, referred): decode(held, referred) for key, held in first}
    if kind in ("range", "slice"):
        return {"range": range, "slice": slice}[kind](*(decode(part, referred) for part in first))
    if kind == "type":
        return _builtin_type(first)
    if kind == "made":
        return _standard(first, [decode(part, referred) for part in rest[0]])
    return _BY_NAME[kind](decode(member, referred) for member in first)


def _builtin_type(name: str) -> type:
    found = getattr(builtins, name)
    if type(found) is not type:
        raise TypeError(f"{name} is no built-in type")
    return found


def _standard(name: str, arguments: list[Any]) -> Any:
    if name not in _STANDARD:
        raise TypeError(f"{name} is not among the standard types")
    module, _, kind = name.partition(".")
    return getattr(importlib.import_module(module), kind)(*arguments)
