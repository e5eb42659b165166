"""Which files a process may touch (Landlock, Linux 5.13 and later); works without privileges.

After it a process reads what it was given to read, writes in its scratch folder, and sees nothing else: no file of the
user, no /proc and so no other process's environment, no TCP port (Linux 6.7) and no signal outwards (Linux 6.12).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_VERSION_FLAG, _PATH_RULE = 1, 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _MAKE_REG, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 8, 1 << 14
# Rights that each version of the interface knows: to files, to TCP, and to signals and abstract sockets.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}


def version() -> int:
    """The version of the kernel's Landlock interface; 0 where there is none."""
    return max(_syscall(_CREATE, None, 0, _VERSION_FLAG), 0)


def confine(readable: Iterable[str], scratch: str) -> None:
    """Hold this process for good to reading below `readable` and to plain files directly in `scratch`.

    Paths that do not exist are left out; devices among them (/dev/null) may be written. No folder, link, device or
    socket can be made in the scratch folder, and nothing in it deleted or renamed. Needs no_new_privs. OSError if the
    kernel refuses.
    """
    known = version()
    rights = (1 << _FILE_RIGHTS.get(known, 16)) - 1
    attributes = struct.pack("QQQ", rights, 0b11, 0b11)[: 24 if known >= 6 else 16 if known >= 4 else 8]
    ruleset = _checked(_CREATE, ctypes.c_char_p(attributes), len(attributes), 0)
    for path in readable:
        _allow(ruleset, path, _READ_FILE | _READ_DIR, rights)
    _allow(ruleset, scratch, _READ_FILE | _READ_DIR | _WRITE_FILE | _MAKE_REG | _TRUNCATE, rights)
    _checked(_RESTRICT, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, wanted: int, rights: int) -> None:
    try:
        at = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            wanted = _READ_FILE | (_WRITE_FILE | _TRUNCATE if path.startswith("/dev/") else 0)
        _checked(_ADD_RULE, ruleset, _PATH_RULE, ctypes.c_char_p(struct.pack("=Qi", wanted & rights, at)), 0)
    finally:
        os.close(at)


def _checked(number: int, *arguments: object) -> int:
    result = _syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result


def _syscall(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return libc.syscall(ctypes.c_long(number), *words)
