"""Typed reading of `config.json`: a wrong value is an error that names the field, the value and what is accepted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from seal_jax.models.errors import CheckpointError

_REQUIRED: Any = object()


@dataclasses.dataclass(frozen=True)
class Fields:
    """A JSON object and where it stands ("path/config.json" or "path/config.json: rope_scaling").

    Every method raises CheckpointError for a value of the wrong type, and for an absent field without a default.
    `null` counts as absent where a default is given.
    """

    values: Mapping[str, Any]
    where: str

    def _get(self, name: str, default: Any, expected: str) -> Any:
        value = self.values.get(name)
        if value is not None:
            return value
        if default is _REQUIRED:
            state = "is null" if name in self.values else "is missing"
            raise CheckpointError(f"{self.where}: field {name!r} {state}; expected {expected}")
        return default

    def refuse(self, name: str, accepted: str) -> CheckpointError:
        """The error for a value that is well-formed but not supported."""
        return CheckpointError(f"{self.where}: {name}={self.values.get(name)!r} is not supported; accepted: {accepted}")

    def integer(self, name: str, default: Any = _REQUIRED) -> Any:
        """A positive integer, or `default`."""
        value = self._get(name, default, "a positive integer")
        if value is not default and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise self.refuse(name, "a positive integer")
        return value

    def number(self, name: str, default: Any = _REQUIRED) -> Any:
        """A positive finite number as float, or `default`."""
        value = self._get(name, default, "a positive number")
        if value is default:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self.refuse(name, "a positive number")
        return float(value)

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
        value = self._get(name, (), "a token id or a list of them")
        ids = tuple(value) if isinstance(value, list | tuple) else (value,)
        if any(isinstance(i, bool) or not isinstance(i, int) for i in ids):
            raise self.refuse(name, "a token id or a list of them")
        return ids

    def child(self, name: str) -> Fields:
        """The JSON object under `name`; empty where absent."""
        value = self._get(name, {}, "an object")
        if not isinstance(value, dict):
            raise self.refuse(name, "an object")
        return Fields(value, f"{self.where}: {name}")
