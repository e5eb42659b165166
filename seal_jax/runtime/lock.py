"""One writer per directory: an advisory lock that the kernel drops when its process dies."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import sys
import warnings
from typing import IO

Lock = IO[str]


class DirectoryInUseError(RuntimeError):
    """Another process is writing the directory."""


def acquire(path: str | os.PathLike[str]) -> Lock:
    """Take the lock file `path`, or raise DirectoryInUseError naming who holds it.

    The file stays where it is; what counts is the kernel's lock on it, so one left by a dead process is simply taken
    over. On file systems without locks (some network mounts) a warning is given and the lock is not enforced.
    """
    handle = pathlib.Path(path).open("a+", encoding="utf-8", errors="replace")  # noqa: SIM115, held until release
    try:
        _lock(handle)
    except BlockingIOError:
        holder = _holder(handle)
        handle.close()
        raise DirectoryInUseError(
            f"{pathlib.Path(path).parent} is being written by {holder}; wait for it, stop it, or use another --out"
        ) from None
    except OSError as error:
        warnings.warn(f"{path} cannot be locked ({error}); make sure that only one process writes there", stacklevel=3)
    handle.seek(0)
    handle.truncate()
    handle.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    handle.flush()
    return handle


def release(lock: Lock) -> None:
    """Give the lock back. The file is left: deleting it would let two waiting processes both have it."""
    lock.close()


def _lock(handle: Lock) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(handle: Lock) -> str:
    handle.seek(0)
    try:
        known = json.loads(handle.read())
        return f"process {known['pid']} on {known['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
