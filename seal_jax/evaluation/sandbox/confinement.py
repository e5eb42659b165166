"""Everything a process does to itself before it runs code that nobody trusts, and what is in force then."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from typing import Any

from seal_jax.evaluation.sandbox import landlock, seccomp

GUARDS = ("processes", "network", "writes", "reads")
"""What confined code cannot do: start processes or threads, reach a network, change files outside of its scratch
folder, read files that are not the interpreter's own (with them other processes' environments)."""

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/usr/share/zoneinfo")
_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CAPABILITIES_VERSION, _DAC_READ_SEARCH = 0x20080522, 2


def readable() -> list[str]:
    """What code may read: the interpreter's libraries and the system's, a few devices; no sources of the user's."""
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    own = [os.path.join(prefix, folder) for prefix in sorted(prefixes) for folder in ("lib", "lib64")]
    return [*own, *_LIBRARIES, *_FILES]


def enclose(scratch: str, limits: dict[str, Any], parent: int) -> bool:
    """The walls that a process's children inherit: limits, no powers, Landlock; whether this machine has Landlock.

    limits: fields of `code_execution.Limits`. parent: the pid that must be alive for this process to be.
    """
    _limit(limits)
    _drop_capabilities()
    die_with(parent)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return landlock.version() > 0 and not _fails(lambda: landlock.confine(readable(), scratch))


def restrict(files: bool, pids: tuple[int, ...]) -> list[str]:
    """The last wall, after which nothing is started any more; returns the guards then in force.

    files: what `enclose` returned. pids: this process, and others that it may signal.
    """
    calls = not _fails(lambda: seccomp.confine(files, pids))
    # Without Landlock no file can be opened for writing at all; without seccomp modes and owners could be changed.
    return [*(("processes", "network", "writes") if calls else ()), *(("reads",) if files else ())]


def _fails(step: Any) -> bool:
    try:
        step()
    except OSError:
        return True
    return False


def _limit(limits: dict[str, Any]) -> None:
    cpu = max(1, round(limits["cpu_seconds"]))
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),  # the signal at the soft limit can be caught, that at the hard one not
        (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"]),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        most = resource.getrlimit(kind)[1]
        hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(kind, (min(soft, hard), hard))


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; ends it if that has happened already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _drop_capabilities() -> None:
    """Root keeps its user id and none of its powers, but for reading where Landlock lets it."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = struct.pack("Ii", _CAPABILITIES_VERSION, 0), ctypes.create_string_buffer(24)
    if libc.capget(header, data):
        return
    permitted = struct.unpack("IIIIII", data.raw)[1]
    kept = permitted & (1 << _DAC_READ_SEARCH if landlock.version() else 0)
    if libc.capset(header, struct.pack("IIIIII", kept, kept, 0, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "cannot give up capabilities")


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *(ctypes.c_ulong(word) for word in (value, 0, 0, 0))):
        raise OSError(ctypes.get_errno(), f"prctl {option} was refused")
