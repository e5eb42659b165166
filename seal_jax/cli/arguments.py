"""From the command line to a command: tyro parses, then settings are checked and errors name their flag.

Settings are dataclasses that check themselves when they are made. tyro would tell such an error in a box, under a name
that is no flag; so it makes them unchecked here, and they are checked when their place on the command line is known.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

_FIXED = typing.get_args(tyro.conf.Fixed[int])[1]


def parse(command: Any, name: str, description: str, arguments: Sequence[str]) -> Any:
    """The command that the arguments ask for: `command` is a dataclass, or a union of sub-commands.

    A field marked `tyro.conf.Fixed` is no flag. Raises ValueError for settings out of their range, beginning with the
    flag; SystemExit with code 2 for what cannot be parsed, which tyro tells on standard error.
    """
    made = tyro.cli(
        command,
        prog=f"seal-jax {name}",
        description=description,
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.SuppressFixed),
        registry=_unchecked(),
    )
    _check(made, "")
    return made


def unescaped(text: str) -> str:
    """The text with \\n and \\t as the line ends and tabs that a shell has no easy way to write."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def without_fixed(settings: Any, plain: dict[str, Any]) -> dict[str, Any]:
    """`plain`, which is `files.to_plain(settings)`, less the fields that are marked `tyro.conf.Fixed`, at any depth."""
    kept = {}
    for name, marks in _fields(type(settings)):
        value = getattr(settings, name)
        if _FIXED not in marks:
            kept[name] = without_fixed(value, plain[name]) if dataclasses.is_dataclass(value) else plain[name]
    return kept


def _unchecked() -> ConstructorRegistry:
    """Rules of tyro's under which a dataclass with checks is made without them."""
    registry = ConstructorRegistry()
    asking = False

    @registry.struct_rule
    def _(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal asking
        if asking or not hasattr(info.type, "__post_init__"):
            return None
        asking = True  # this rule is among those that the next line asks
        try:
            found: Any = ConstructorRegistry.get_struct_spec(info)
        finally:
            asking = False
        return dataclasses.replace(found, instantiate=lambda **values: _made(info.type, values))

    return registry


def _made(kind: Any, values: dict[str, Any]) -> Any:
    if "stop" in values:
        values = {**values, "stop": tuple(map(unescaped, values["stop"]))}
    made = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def _check(settings: Any, prefix: str) -> None:
    """Check the innermost settings first, as they would have been made. prefix: of their flags, as "edits."."""
    for name, marks in _fields(type(settings)):
        if dataclasses.is_dataclass(value := getattr(settings, name)):
            _check(value, prefix if any(getattr(mark, "name", None) == "" for mark in marks) else f"{prefix}{name}.")
    if hasattr(settings, "__post_init__"):
        try:
            settings.__post_init__()
        except ValueError as error:
            raise ValueError(_named(str(error), [name for name, _ in _fields(type(settings))], prefix)) from error


def _named(message: str, fields: Sequence[str], prefix: str) -> str:
    """The message of a check, "count 0: use 1 or more", with the flag in place of the field that it begins with."""
    group = prefix.removesuffix(".").rpartition(".")[2]
    first, _, rest = message.removeprefix(f"{group} ").partition(" ")
    if first in fields:
        return f"--{f'{prefix}{first}'.replace('_', '-')} {rest}"
    return f"--{prefix}*: {message}" if prefix else message


def _fields(kind: type) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The fields of a dataclass, each with the marks of its annotation."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        yield field.name, getattr(hints[field.name], "__metadata__", ())
