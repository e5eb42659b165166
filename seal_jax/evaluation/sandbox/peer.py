"""Questions and answers between the process of the program and that of its checks, one line of JSON each."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Callable
from typing import Any

from seal_jax.evaluation.sandbox import wire

_LONGEST = 8 << 20  # bytes of a message
_NEVER_RAISED = (StopIteration, StopAsyncIteration, GeneratorExit)  # these would end a loop of the checks early
CLOSED = "the line is closed"
"""What Gone says when the other process has ended."""
_REASON = 500  # characters of an error that are reported


class Gone(BaseException):
    """The other process has ended, or says what nobody can read; no `except Exception` of the checks takes it."""


class Remote:
    """An object of the other process: can be called, iterated, indexed, asked for length, truth and attributes.

    It equals itself alone. What it is asked for it answers without seeing what is expected.
    """

    __slots__ = ("_number", "_peer")

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the object returns; lists, dicts and sets that it changed among the positional arguments change."""
        value, changed = self._peer.ask("call", self, list(args), kwargs)
        for place, state in changed.items():
            _refill(args[place], state)
        return value

    def __getattr__(self, name: str) -> Any:
        """The object's attribute; AttributeError for names with two underscores."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set the object's attribute."""
        self._peer.ask("setattr", self, name, value)

    def __iter__(self) -> Any:
        """Its members, one question each."""
        members = self._peer.ask("iter", self)
        while item := self._peer.ask("next", members):
            yield item[0]

    def __next__(self) -> Any:
        """The next member of an iterator; StopIteration after the last."""
        if not (item := self._peer.ask("next", self)):
            raise StopIteration
        return item[0]

    def __getitem__(self, key: Any) -> Any:
        """The member under a key or index."""
        return self._peer.ask("getitem", self, key)

    def __len__(self) -> int:
        """Its length."""
        return self._peer.ask("len", self)

    def __bool__(self) -> bool:
        """Its truth."""
        return self._peer.ask("bool", self)

    def __deepcopy__(self, memo: Any) -> Remote:
        """Itself: copies are made on the other side."""
        return self


def _refill(old: Any, new: Any) -> None:
    if type(old) is not type(new):
        return
    if type(old) is list:
        old[:] = new
    else:
        old.clear()
        old.update(new)


class Peer:
    """One end of the line. `serve`: what this side does for the other's questions (operation and operands).

    raised: the last exception that came from the other side, and its description there. gone: why the line is useless.
    """

    def __init__(self, reading: int, writing: int, serve: Callable[..., Any]) -> None:
        self._lines, self._writing, self._serve = os.fdopen(reading, "rb"), writing, serve
        self._write = os.write  # the program may replace what has a name in a module
        self._objects: list[Any] = []
        self.raised: tuple[BaseException, str] | None = None
        self.gone: Gone | None = None

    def ask(self, operation: str, *operands: Any) -> Any:
        """What the other side answers; raises the built-in exception nearest to what it raised, Gone if it ended."""
        self._send(["ask", operation, [wire.encode(operand, self._reference) for operand in operands]])
        while True:
            kind, *rest = self._receive()
            if kind == "ask":
                self._answer(*rest)
            elif kind == "value":
                return self._decoded(rest[0])
            else:
                raise self._rebuilt(*rest)

    def serve_forever(self) -> None:
        """Answer until the other side ends; raises Gone then."""
        while True:
            _, *question = self._receive()
            self._answer(*question)

    def _answer(self, operation: str, operands: Any) -> None:
        try:
            value = self._serve(operation, *self._decoded(["list", operands]))
            answer = ["value", wire.encode(value, self._reference)]
        except Gone:
            raise
        except BaseException as error:
            answer = ["raised", *_names(error), describe(error)]
        self._send(answer)

    def _decoded(self, sent: Any) -> Any:
        try:
            return wire.decode(sent, self._referred)
        except Exception as error:
            raise self._lost(f"an unreadable answer ({type(error).__name__})") from None

    def _reference(self, value: Any) -> list[Any]:
        if type(value) is Remote:
            return ["yours", value._number]
        self._objects.append(value)
        return ["mine", len(self._objects) - 1]

    def _referred(self, sent: list[Any]) -> Any:
        whose, number = sent
        if type(number) is not int or number < 0:
            raise TypeError("no number of an object")
        return self._objects[number] if whose == "yours" else Remote(self, number)

    def _rebuilt(self, name: str, text: str, description: str) -> BaseException:
        kind = getattr(builtins, str(name), None)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)) or issubclass(kind, _NEVER_RAISED):
            kind = RuntimeError
        try:
            error = kind(str(text))
        except TypeError:  # a Unicode error, a group
            error = ValueError(str(text)) if issubclass(kind, ValueError) else RuntimeError(str(text))
        self.raised = error, str(description)
        return error

    def _send(self, message: list[Any]) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        try:
            while data:
                data = data[self._write(self._writing, data) :]
        except OSError:
            raise self._lost(CLOSED) from None

    def _receive(self) -> list[Any]:
        try:
            line = self._lines.readline(_LONGEST + 1)
            if not line.endswith(b"\n"):
                raise self._lost(f"a value of more than {_LONGEST} bytes" if len(line) > _LONGEST else CLOSED)
            message = json.loads(line)
            if type(message) is list and len(message) == {"ask": 3, "value": 2, "raised": 4}[message[0]]:
                return message
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            pass
        raise self._lost("an unreadable answer")

    def _lost(self, reason: str) -> Gone:
        self.gone = Gone(reason)
        return self.gone


def _names(error: BaseException) -> tuple[str, str]:
    """The nearest built-in class of an exception, and its text."""
    kinds = (kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
    try:
        text = str(error)[:_REASON]
    except BaseException:  # an exception class of the program's own may do anything
        text = ""
    return next(kinds), text


def describe(error: BaseException) -> str:
    """The error in one line, with the line of the program or of the checks where it came up."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<program>", "<checks>"):
            place = f" at line {trace.tb_lineno} of the {trace.tb_frame.f_code.co_filename.strip('<>')}"
        trace = trace.tb_next
    try:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    except BaseException:  # as in `_names`
        text = type(error).__name__
    return f"{text[:_REASON]}{place}"
