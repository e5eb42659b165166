"""Typed reading of `config.json`: a wrong value is an error that names the field, the value and what is accepted."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from seal_jax.models.errors import CheckpointError

_REQUIRED: Any = object()
_LARGE = 2**48  # sizes beyond it are damage, and products of them leave 64 bits


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


@dataclasses.dataclass(frozen=True)
class Fields:
    """A JSON object and where it stands ("path/config.json" or "path/config.json: rope_scaling").

    Every method raises CheckpointError for a value of the wrong type, and for an absent field without a default.
    `null` counts as absent where a default is given. `read` collects the names that were asked for.
    """

    values: Mapping[str, Any]
    where: str
    read: set[str] = dataclasses.field(default_factory=set, compare=False)

    def raw(self, name: str, default: Any = None) -> Any:
        """The value as it stands, or `default` where it is absent or null."""
        self.read.add(name)
        value = self.values.get(name)
        return default if value is None else value

    def ignore(self, name: str, reason: str) -> None:
        """Warn that a value is not used, where there is one."""
        if self.raw(name) is not None:
            warnings.warn(f"{self.where}: {name}={self.raw(name)!r} is not used: {reason}", stacklevel=2)

    def unread(self) -> list[str]:
        """The names that nothing asked for and that say more than null, false or nothing."""
        return [n for n, v in self.values.items() if n not in self.read and v not in (None, False, "", [], {})]

    def _get(self, name: str, default: Any, expected: str) -> Any:
        value = self.raw(name)
        if value is not None:
            return value
        if default is _REQUIRED:
            state = "is null" if name in self.values else "is missing"
            raise CheckpointError(f"{self.where}: field {name!r} {state}; expected {expected}")
        return default

    def refuse(self, name: str, accepted: str) -> CheckpointError:
        """The error for a value that is well-formed but not supported."""
        value = repr(self.values.get(name))
        shown = value if len(value) <= 200 else f"{value[:200]}..."
        return CheckpointError(f"{self.where}: {name}={shown} is not supported; accepted: {accepted}")

    def integer(self, name: str, default: Any = _REQUIRED) -> Any:
        """A positive integer, or `default`."""
        value = self._get(name, default, "a positive integer")
        if value is not default and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < _LARGE):
            raise self.refuse(name, f"a positive integer below {_LARGE}")
        return value

    def number(self, name: str, default: Any = _REQUIRED) -> Any:
        """A positive finite number as float, or `default`."""
        value = self._get(name, default, "a positive number")
        if value is default:
            return value
        if not _positive(value):
            raise self.refuse(name, "a positive number")
        return float(value)

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """A list of `count` positive finite numbers."""
        value = self._get(name, _REQUIRED, f"a list of {count} positive numbers")
        if not isinstance(value, list | tuple) or len(value) != count or not all(map(_positive, value)):
            raise self.refuse(name, f"a list of {count} positive numbers")
        return tuple(map(float, value))

    def flag(self, name: str, default: bool) -> bool:
        """A boolean, or `default`."""
        value = self._get(name, default, "true or false")
        if not isinstance(value, bool):
            raise self.refuse(name, "true or false")
        return value

    def choice(self, name: str, accepted: Sequence[Any], default: Any = _REQUIRED) -> Any:
        """One of `accepted`, or `default`."""
        value = self._get(name, default, f"one of {', '.join(map(repr, accepted))}")
        if value is not default and value not in accepted:
            raise self.refuse(name, ", ".join(map(repr, accepted)))
        return value

    def token_ids(self, name: str) -> tuple[int, ...]:
        """One token id or a list of them as a tuple; empty where absent."""
        expected = "a token id (0 or more) or a list of them"
        value = self._get(name, (), expected)
        ids = tuple(value) if isinstance(value, list | tuple) else (value,)
        if any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in ids):
            raise self.refuse(name, expected)
        return ids

    def child(self, name: str) -> Fields:
        """The JSON object under `name`; empty where absent."""
        value = self._get(name, {}, "an object")
        if not isinstance(value, dict):
            raise self.refuse(name, "an object")
        return Fields(value, f"{self.where}: {name}")
