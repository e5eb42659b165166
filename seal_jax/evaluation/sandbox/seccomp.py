"""A list of allowed system calls that the kernel holds a process to (seccomp); works without privileges.

Refused calls fail with EPERM, which Python raises as PermissionError. Calls in another architecture's numbering kill.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from seal_jax.evaluation.sandbox import syscalls

_LOAD, _EQUAL, _AT_LEAST, _MASK, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_KILL, _REFUSE, _ALLOW = 0x80000000, 0x00050001, 0x7FFF0000  # kill the process; errno 1, EPERM; allow
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in the kernel's struct seccomp_data
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "arm64": 0xC00000B7}
_X32 = 0x40000000  # x86-64 has a second numbering from here on

_WRITING = 0o3 | 0o100 | 0o1000 | 0o20000000  # access mode, O_CREAT, O_TRUNC, and O_TMPFILE's own bit
_NAMELESS = 0o20000000  # O_TMPFILE: a file that no folder shows, so that nobody sees how large it grows
_TRUNCATE_READ_ONLY = 0o3 | 0o1000  # a file opened read-only and emptied all the same
_FCNTL = (0, 1, 2, 3, 4, 1030)  # duplicate, flags of descriptor and file; not F_SETOWN, which sends signals
_IOCTL = (
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)  # terminal or not, its size, bytes waiting, blocking, cloexec
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


def confine(writes: bool, pids: Sequence[int]) -> None:
    """Hold this process to the list for good.

    writes: files may be opened for writing (Landlock says which). pids: this process, and others that it may signal.
    Needs no_new_privs. OSError if the kernel has no seccomp, or the machine is neither x86-64 nor aarch64.
    """
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise OSError(f"no list of system calls for {machine}")
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program(machine, pids, writes))
    held = ctypes.create_string_buffer(code)
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_ulong(_MODE_FILTER), ctypes.c_char_p(header), ctypes.c_ulong(0), ctypes.c_ulong(0))
    if libc.prctl(_PR_SET_SECCOMP, *arguments):
        raise OSError(ctypes.get_errno(), "the kernel refuses a seccomp filter")


def program(machine: str, pids: Sequence[int], writes: bool) -> list[Instruction]:
    """The filter in the kernel's instructions, for the process `pids[0]`, which may signal all of `pids`."""
    foreign = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL)]
    second = [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    plain = [step for n in syscalls.allowed(machine, writes) for step in ((_EQUAL, 0, 1, n), (_RETURN, 0, 0, _ALLOW))]
    cases = [step for name, n in syscalls.conditional(machine).items() for step in _case(name, n, pids, writes)]
    return [*foreign, *second, *plain, *cases, (_RETURN, 0, 0, _REFUSE)]


def _case(name: str, number: int, pids: Sequence[int], writes: bool) -> list[Instruction]:
    """The steps that decide one call by an argument; all of these arguments are 32 bits wide."""
    if name in ("open", "openat"):
        body = _opening(1 if name == "open" else 2, writes)
    elif name in ("fcntl", "ioctl"):
        body = _one_of(1, _FCNTL if name == "fcntl" else _IOCTL)
    else:  # kill, tgkill, prlimit64
        body = _one_of(0, (pids[0], 0) if name == "prlimit64" else tuple(pids))
    return [(_EQUAL, 0, len(body), number), *body]


def _opening(argument: int, writes: bool) -> list[Instruction]:
    load = (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)
    if not writes:
        return [load, (_MASK, 0, 0, _WRITING), *_decide((0,))]
    nameless = [(_MASK, 0, 0, _NAMELESS), (_EQUAL, 0, 1, _NAMELESS), (_RETURN, 0, 0, _REFUSE)]
    refused = [(_EQUAL, 0, 1, 0o1000), (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return [load, *nameless, load, (_MASK, 0, 0, _TRUNCATE_READ_ONLY), *refused]


def _one_of(argument: int, values: tuple[int, ...]) -> list[Instruction]:
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument), *_decide(values)]


def _decide(values: tuple[int, ...]) -> list[Instruction]:
    """Allow if the loaded word is one of these, refuse otherwise."""
    tests = [step for value in values for step in ((_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW))]
    return [*tests, (_RETURN, 0, 0, _REFUSE)]
