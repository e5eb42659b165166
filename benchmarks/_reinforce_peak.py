"""Peak memory of REINFORCE updates in a process of their own: python -m benchmarks._reinforce_peak KIND FOLDER ROWS."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks._reinforce_work import Work

STATUS, RESET = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")


def write(folder: str, factors: Mapping[str, Any], expert: Mapping[str, Any]) -> None:
    """Leave factors and expert beside the model in `folder`."""
    arrays = {f"{path}:{name}": np.asarray(x) for path, f in factors.items() for name, x in f.items()}
    arrays |= {f"{path}:raw": np.asarray(entry["raw"]) for path, entry in expert.items()}
    np.savez(f"{folder}/svf.npz", **arrays)  # pyright: ignore[reportArgumentType]


def peak_of(kind: str, folder: str, work: Work, micro_batch: int = 1) -> int | None:
    """Bytes by which an update of "ours" or "torch" at most exceeds a process that has no model yet.

    The second update is measured: libraries, loading and compilation are left out, weights and factors are in. None
    where the system does not tell.
    """
    if not os.access(RESET, os.W_OK):
        return None
    given = [kind, folder, str(micro_batch), json.dumps(vars(work))]
    command = [sys.executable, "-m", "benchmarks._reinforce_peak", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def _memory(field: str) -> int:
    [line] = [line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(field)]
    return 1024 * int(line.split()[1])


def _read(folder: str) -> tuple[dict[str, Any], dict[str, Any]]:
    factors: dict[str, Any] = {}
    expert: dict[str, Any] = {}
    with np.load(f"{folder}/svf.npz") as arrays:
        for key in arrays:
            path, name = key.split(":")
            (expert if name == "raw" else factors).setdefault(path, {})[name] = arrays[key]
    return factors, expert


def _ours(folder: str, work: Work, micro_batch: int) -> Callable[[], Any]:
    import jax
    import jax.numpy as jnp

    from benchmarks._reinforce_ours import Ours  # here: what a process does not measure it does not load
    from seal_jax import models

    config, params, _ = models.from_pretrained(folder, dtype="float32")
    factors, expert = (jax.tree.map(jnp.asarray, tree) for tree in _read(folder))
    ours, rows = Ours(config, params, factors, expert), work.rows(config.vocab_size)
    state = ours.begin()

    def update() -> None:
        nonlocal state
        state = jax.block_until_ready(ours.update(state, rows, micro_batch))

    return update


def _torch(folder: str, work: Work, micro_batch: int) -> Callable[[], Any]:
    from benchmarks._reinforce_torch import Reference, load

    model = load(folder)
    rows, reference = work.rows(model.config.vocab_size), Reference(model, *_read(folder))
    return lambda: reference.update(rows)


def main(kind: str, folder: str, micro_batch: str, work: str) -> None:
    """Print the bytes."""
    import jax
    import torch

    jax.block_until_ready(jax.numpy.ones(2) + 1)
    torch.ones(2).sum()
    before = _memory("VmRSS")
    update = {"ours": _ours, "torch": _torch}[kind](folder, Work(**json.loads(work)), int(micro_batch))
    update()
    RESET.write_text("5", encoding="ascii")  # the peak begins anew
    update()
    print(_memory("VmHWM") - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
