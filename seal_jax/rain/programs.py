"""Several searches at once, for a CPU whose cores one program of small products leaves idle."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, Protocol

import jax

from seal_jax.generation.checks import check_integer
from seal_jax.runtime.mesh import mesh_of

# Weights that stay in a processor's cache. Larger ones are better read once for all slots, and keep all cores busy.
SMALL = 1 << 26


class Steps(Protocol):
    """What can be run beside others like it."""

    def begin(self) -> None:
        """Compile the programs."""
        ...

    def steps(self) -> Iterator[list[Any]]:
        """Do the work, and yield what is finished between the steps."""
        ...


class Waiting:
    """Rows that nobody has taken yet."""

    def __init__(self, rows: Iterable[int]) -> None:
        self._rows = list(rows)[::-1]
        self._lock = threading.Lock()

    def take(self, count: int) -> list[int]:
        """The next rows, at most `count`."""
        with self._lock:
            return [self._rows.pop() for _ in range(min(count, len(self._rows)))]


def programs_for(params: Any, slots: int, programs: int | None = None) -> int:
    """Into how many programs slots are divided: as given, or one for each core of a CPU for small weights, else 1.

    Raises ValueError for a number that is not positive.
    """
    if programs is not None:
        check_integer("programs", programs, "a positive number of programs that search at once", 1)
        return min(programs, slots)
    size = sum(x.nbytes for x in jax.tree.leaves(params))
    if jax.default_backend() != "cpu" or mesh_of(params) is not None or size > SMALL:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, slots)


def finished(runs: Sequence[Steps]) -> Generator[Any, None, None]:
    """What the runs finish, in the order in which they do, each run in a thread of its own if there are several.

    The caller's thread gets it all, and an error of any run. When the caller stops listening (use `contextlib.closing`)
    every run stops after its step.
    """
    if len(runs) == 1:
        for some in runs[0].steps():
            yield from some
        return
    runs[0].begin()  # or each of them would compile
    box: queue.SimpleQueue[list[Any] | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()
    threads = [threading.Thread(target=_work, args=(run, box, stopped)) for run in runs]
    for thread in threads:
        thread.start()
    try:
        yield from _received(box, len(runs))
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _work(run: Steps, box: queue.SimpleQueue[Any], stopped: threading.Event) -> None:
    try:
        for some in run.steps():
            box.put(some)
            if stopped.is_set():
                break
    except BaseException as error:
        box.put(error)
    box.put(None)


def _received(box: queue.SimpleQueue[Any], runs: int) -> Iterator[Any]:
    while runs:
        found = box.get()
        if isinstance(found, BaseException):
            raise found
        if found is None:
            runs -= 1
        else:
            yield from found
