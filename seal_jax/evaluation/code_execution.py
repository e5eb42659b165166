"""Running programs that a model wrote: each in a process of its own that can compute and print, and nothing else.

What holds a program, and how (Linux 5.13 or later on x86-64 or aarch64; root, an ordinary user or a plain container):

- processor time, memory, the size of each file, open files: resource limits of the kernel. Time on the clock, the
  amount of output and the size of the scratch folder: this process watches, and kills.
- processes and threads: seccomp refuses to make any, so nothing is left behind and there is one process to limit.
  network: seccomp refuses sockets. Signals, other processes' memory and limits, modes, owners: seccomp again.
- files: Landlock lets it read the interpreter's own libraries and write plain files in an empty scratch folder, where
  nothing is deleted or renamed, so that all that takes space is seen. Other
  processes' environments, the user's files and `/proc` are out of reach; its own environment has a fixed hash seed,
  so that a grade is the same each time, and nothing of its parent's.
- powers of root are given up; when this process dies, so does the program.

Without Landlock (older kernels, gVisor) seccomp still refuses every change of a file, and reading is not held; without
seccomp nothing but reading is. Then `run_programs` refuses, until `unguarded` names what may be missing.

What a pass means: the program ran, and then its checks ran to their ends. They run in a second process, held as the
first, which alone knows what is expected and alone says what came of it. What the program's functions return gets there
as plain data, made anew of exact built-in and standard types; all else is a reference that can be called, iterated,
indexed and asked for its length, truth and attributes, and that equals nothing. So neither objects that equal
everything nor replaced built-ins, changed modules or frames make a check hold: the program has to come up with values.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import NamedTuple

from seal_jax.evaluation.sandbox import process
from seal_jax.evaluation.sandbox.confinement import GUARDS

_WORKERS = 32


class Program(NamedTuple):
    """Source to run, and source that calls what it defines and raises if something is wrong.

    The checks run in another process, where the program's names stand for its functions and objects. names: those that
    stand for the program's although Python has built-ins under them.
    """

    code: str
    checks: str = ""
    names: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """What came of a program.

    status: "passed"; "failed": an exception, or more output or files than allowed; "timeout": of the clock or the
    processor; "crashed": ended by a signal or without a verdict; "error": it could not be run, so nothing is known
    about it. reason: one line, empty for a pass. output: what it printed, cut. seconds: on the clock, start included.
    """

    status: str
    reason: str
    output: str
    seconds: float


@dataclass(frozen=True)
class Limits:
    """What one program may use. Processor seconds are whole; memory is address space, the interpreter's included."""

    cpu_seconds: int = 5
    wall_seconds: float = 10.0
    memory_bytes: int = 1 << 30
    file_bytes: int = 8 << 20
    scratch_bytes: int = 32 << 20
    open_files: int = 32
    output_bytes: int = 1 << 16

    def __post_init__(self) -> None:
        """ValueError naming a limit that is not positive, or memory that no interpreter starts in."""
        for name, value in asdict(self).items():
            if value <= 0:
                raise ValueError(f"{name}={value} should be positive")
        if self.memory_bytes < 1 << 26:
            raise ValueError(f"memory_bytes={self.memory_bytes} is too little for an interpreter; 64 MiB is the least")


class UnguardedError(RuntimeError):
    """This machine cannot hold programs as they should be held; the message says what is missing and what to do."""


def run_programs(
    programs: Sequence[Program],
    limits: Limits | None = None,
    workers: int | None = None,
    unguarded: Collection[str] = (),
) -> list[Outcome]:
    """What comes of each program, in order; `workers` at a time (by default as there are processors, up to 32).

    unguarded: guards (of GUARDS) that may be missing on this machine, with its risk to you. Whatever a program does
    is an outcome and never an exception. Raises UnguardedError before any runs, and ValueError for an unknown guard.
    """
    _require(frozenset(unguarded))
    limits = limits or Limits()
    if not programs:
        return []
    with ThreadPoolExecutor(min(workers or min(len(os.sched_getaffinity(0)), _WORKERS), len(programs))) as pool:
        return list(pool.map(lambda program: _outcome(program, limits, unguarded), programs))


def run_program(program: Program, limits: Limits | None = None, unguarded: Collection[str] = ()) -> Outcome:
    """`run_programs` of one."""
    return run_programs([program], limits, 1, unguarded)[0]


@functools.cache
def missing_guards() -> tuple[str, ...]:
    """The guards that this machine cannot give, found by trying once; () where it has all of them.

    Raises RuntimeError if the interpreter does not start in the child at all.
    """
    ended = process.run(Program("")._asdict(), {"limits": asdict(Limits()), "unguarded": []})
    words = ended.said.decode("utf-8", "replace").split()
    if words[:1] not in (["ready"], ["refused"]):
        shown = ended.printed.decode("utf-8", "replace").strip()[-500:]
        raise RuntimeError(f"the interpreter for programs does not start ({ended.stopped or ended.code}): {shown}")
    return tuple(words[1:]) if words[0] == "refused" else ()


def _require(unguarded: frozenset[str]) -> None:
    if unknown := unguarded - set(GUARDS):
        raise ValueError(f"unknown guards {sorted(unknown)}; there are {', '.join(GUARDS)}")
    if sys.platform != "linux":
        raise UnguardedError(
            f"programs run on Linux alone, which has what it takes to hold them, not on {sys.platform}"
        )
    lacking = [guard for guard in missing_guards() if guard not in unguarded]
    if lacking:
        raise UnguardedError(
            f"this machine cannot hold programs off {', '.join(lacking)}: that takes seccomp and Landlock (Linux 5.13 "
            f"or later). Run them in a machine or container with nothing to lose and pass unguarded={tuple(lacking)}"
        )


def _outcome(program: Program, limits: Limits, unguarded: Collection[str]) -> Outcome:
    start = time.monotonic()
    try:
        ended = process.run(program._asdict(), {"limits": asdict(limits), "unguarded": list(unguarded)})
    except (OSError, ValueError) as error:  # ValueError: text that is no text, as half a surrogate pair
        return Outcome("error", f"{type(error).__name__}: {error}", "", time.monotonic() - start)
    output = ended.printed[: limits.output_bytes].decode("utf-8", "replace")
    return Outcome(*_verdict(ended, limits), output, time.monotonic() - start)


def _verdict(ended: process.Ended, limits: Limits) -> tuple[str, str]:
    """Status and reason."""
    said = ended.said
    if not said.startswith(b"ready\n"):
        return "error", f"did not start: {ended.stopped or said.decode('utf-8', 'replace').strip() or ended.code}"
    if ended.stopped:
        timeout = ended.stopped.startswith("timeout: ")
        return ("timeout" if timeout else "failed"), ended.stopped.removeprefix("timeout: ")
    if said == b"ready\npassed":
        return "passed", ""
    if said.startswith(b"ready\nfailed "):
        return "failed", said.removeprefix(b"ready\nfailed ").decode("utf-8", "replace")
    code, cpu = ended.code, ended.cpu
    if said.startswith(b"ready\ndied "):  # the program's process, where otherwise it is that of the checks
        first, second = said.split()[2:]
        code, cpu = int(first), float(second)
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and cpu >= limits.cpu_seconds):
        return "timeout", f"used more than {limits.cpu_seconds} s of the processor"
    if code < 0:
        return "crashed", f"ended by {signal.Signals(-code).name}"
    return "crashed", f"left with exit code {code} and without a verdict"
