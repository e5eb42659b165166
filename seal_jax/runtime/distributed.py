"""Several processes, each with its own devices, as one machine: a TPU pod, or hosts with GPUs.

Every process runs the same program on the same host data; what lives on the mesh is split over all of their devices.
Process 0 alone writes files and shows progress.
"""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np

# What a launcher sets: the address of process 0 with a port, how many processes there are, which one this is.
ADDRESS, COUNT, INDEX = "SEAL_JAX_COORDINATOR", "SEAL_JAX_PROCESSES", "SEAL_JAX_PROCESS"


def initialize(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Join the other processes; before anything else that uses JAX, once, in each of them.

    coordinator: "host:port" of process 0; processes: how many; process: which one this is, from 0. Without arguments
    they come from the variables `SEAL_JAX_COORDINATOR`, `SEAL_JAX_PROCESSES` and `SEAL_JAX_PROCESS`, and where those
    are not set either, JAX asks the TPU pod (or Slurm, or MPI) that it runs on. Raises ValueError for a part of them.
    """
    given: dict[str, Any] = {
        "coordinator_address": coordinator or os.environ.get(ADDRESS),
        "num_processes": _number(COUNT) if processes is None else processes,
        "process_id": _number(INDEX) if process is None else process,
    }
    known = [value for value in given.values() if value is not None]
    if known and len(known) < len(given):
        raise ValueError(f"processes: give all of {ADDRESS}=host:port, {COUNT}=N and {INDEX}=0..N-1, or none of them")
    if known and not 0 <= given["process_id"] < given["num_processes"]:
        raise ValueError(f"process {given['process_id']} of {given['num_processes']}: use 0 to the number less one")
    jax.distributed.initialize(**(given if known else {}))


def _number(name: str) -> int | None:
    value = os.environ.get(name)
    if value is None:
        return None
    if not value.isdecimal():
        raise ValueError(f"{name}={value!r}: use a whole number")
    return int(value)


def is_main() -> bool:
    """Whether this is process 0, which writes the files."""
    return jax.process_index() == 0


def host(tree: Any) -> Any:
    """The whole of every array of a tree as numpy arrays, the same in every process, which all have to ask for it."""
    return jax.tree.map(_host, tree)


def _host(x: Any) -> np.ndarray:
    if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    from jax.experimental import multihost_utils  # imports much, and one process needs none of it

    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def sync(name: str) -> None:
    """Wait here until every process has come to the point of this name; nothing with one process."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def all_agree(here: bool) -> bool:
    """Whether `here` is true in every process, all of which have to ask."""
    if jax.process_count() == 1:
        return here
    from jax.experimental import multihost_utils

    return bool(np.all(multihost_utils.process_allgather(np.asarray(here))))
