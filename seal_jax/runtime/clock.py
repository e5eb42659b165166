"""How long compiled programs take, by kind, for whoever asks; what is left of the time on the clock is the host's.

Programs run behind the back of the Python code that starts them. While somebody measures, each named call waits for its
result; otherwise nothing changes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
T = TypeVar("T")

_seconds: ContextVar[dict[str, float] | None] = ContextVar("seconds", default=None)


@contextmanager
def measure() -> Iterator[dict[str, float]]:
    """Seconds spent in the programs named by `timed` inside of the block, compilation included: `{name: seconds}`.

    An outer measurement does not see what an inner one does.
    """
    found: dict[str, float] = defaultdict(float)
    token = _seconds.set(found)
    try:
        yield found
    finally:
        _seconds.reset(token)


def timed(name: str, program: Callable[P, T], /, *args: P.args, **how: P.kwargs) -> T:
    """`program(*args, **how)`; while somebody measures, its result is waited for and its seconds count under `name`."""
    found = _seconds.get()
    if found is None:
        return program(*args, **how)
    # What was started before must not count here, but its results are arguments, and so waited for as well.
    jax.block_until_ready((args, how))
    began = time.perf_counter()
    result = jax.block_until_ready(program(*args, **how))
    found[name] += time.perf_counter() - began
    return result
