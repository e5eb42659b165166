"""What this machine has, and whether a run fits it: said, and if need be refused, before the work begins."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import NamedTuple

import jax

GIB = 2**30
_CGROUP = pathlib.Path("/sys/fs/cgroup")


class Need(NamedTuple):
    """What one stage of a run takes, in bytes.

    sure: what it holds in any case (weights, optimizer state); about: an estimate of its peak, activations included;
    advice: what to change if it does not fit.
    """

    name: str
    sure: int
    about: int
    advice: str


class DoesNotFitError(ValueError):
    """A run needs more memory or disk than there is. The message has the numbers."""


def device_memory() -> int | None:
    """Bytes that arrays may take on one device: of an accelerator its own memory, on a CPU the host's; None: unknown.

    Devices of one host that are CPU devices share its memory, and each gets an equal part.
    """
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        stats = devices[0].memory_stats() or {}
        return stats.get("bytes_limit")
    host = _host_memory()
    return None if host is None else host // len(devices)


def _host_memory() -> int | None:
    """Memory that this process may still take, the limit of its container included; None where Linux does not say."""
    found = []
    try:
        lines = pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            found.append(int(limit) - int((_CGROUP / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):
        pass
    return max(min(found), 0) if found else None


def free_disk(path: str | os.PathLike[str]) -> int:
    """Bytes free on the disk that holds `path`, or will hold it."""
    folder = pathlib.Path(path).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_memory(needs: Sequence[Need], available: int | None) -> list[str]:
    """Warnings for stages whose estimate exceeds `available` bytes a device.

    Raises DoesNotFitError for a stage that exceeds it by what it needs in any case.
    """
    if available is None:
        return []
    for need in needs:
        if need.sure > available:
            raise DoesNotFitError(
                f"{need.name} needs {gib(need.sure)} on each device before any activation, and a device has "
                f"{gib(available)}: {need.advice}"
            )
    return [
        f"{need.name} may need {gib(need.about)} on each device, which has {gib(available)}: {need.advice}"
        for need in needs
        if need.about > available
    ]


def check_disk(path: str | os.PathLike[str], needed: int, what: str) -> None:
    """Raise DoesNotFitError if `needed` bytes are more than the disk of `path` has free."""
    free = free_disk(path)
    if needed > free:
        raise DoesNotFitError(f"{what} takes {gib(needed)} in {path}, and its disk has {gib(free)} free")


def gib(size: int) -> str:
    """A number of bytes for people: "3.4 MB" up to a gibibyte, "12.0 GiB" above."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 1e6:.1f} MB"
