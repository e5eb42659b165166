"""Clocks, the machine, and the speed of its matrix products."""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Spent(NamedTuple):
    """Seconds on the clock, and seconds of all cores together (which other work on the machine does not stretch)."""

    wall: float
    cpu: float


def timed(work: Callable[[], Any]) -> Spent:
    """Seconds that `work()` takes, its JAX results included."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(work())
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def best(spents: list[Spent]) -> Spent:
    """The fewest seconds of either kind: what is slower was disturbed."""
    return Spent(min(s.wall for s in spents), min(s.cpu for s in spents))


def matmul_peak(sizes: tuple[int, ...] = (1024, 2048), dtype: Any = jnp.float32, rounds: int = 12) -> float:
    """The best rate of a square matrix product in JAX, in floating-point operations per second.

    Clocks of shared machines come and go: measure it before and after what it is compared with, and take the best.
    """
    rates = []
    for size in sizes:
        x = jnp.ones((size, size), dtype)
        product = jax.jit(jnp.matmul)
        jax.block_until_ready(product(x, x))
        rates.append(2 * size**3 / best([timed(lambda: product(x, x)) for _ in range(rounds)]).wall)  # noqa: B023
    return max(rates)


def machine() -> dict[str, Any]:
    """Date, processor, cores, load before the run, accelerator."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
