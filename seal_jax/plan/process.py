"""Compiling in a child process, and what its endings mean."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from typing import Any

from seal_jax.plan.settings import Settings

# JAX_PLATFORMS: the default backend is the CPU, whatever there is. The TPU_ ones say what libtpu would otherwise ask
# a metadata server for, and complain. Only compilers share libtpu's lock file, so several may hold it.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # it would make the compile time that of an earlier run
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def attempt(settings: Settings, model: dict[str, Any], edits: int, timeout: float) -> dict[str, Any]:
    """`worker.attempt` in a process of its own. ValueError for what it refuses, where it dies, or after `timeout` s."""
    check_libtpu()
    with tempfile.TemporaryDirectory(prefix="seal-jax-plan-") as folder:
        request, result = pathlib.Path(folder, "request.json"), pathlib.Path(folder, "result.json")
        asked = {"settings": dataclasses.asdict(settings), "model": model, "edits": edits}
        request.write_text(json.dumps(asked))
        command = [sys.executable, "-m", "seal_jax.plan.worker", str(request), str(result)]
        try:
            ended = subprocess.run(
                command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            message = f"{edits} edits: not compiled within {timeout:.0f} s; give it more with --timeout"
            raise ValueError(message) from None
        if ended.returncode or not result.exists():
            raise ValueError(f"the compiler's process {_ending(ended.returncode)}: {_last_lines(ended.stderr)}")
        found = json.loads(result.read_text())
    if "error" in found:
        raise ValueError(found["error"])
    return found


def check_libtpu() -> None:
    """Raise ValueError if the TPU compiler is not installed."""
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            "plan compiles with libtpu, which is not installed: pip install 'seal-jax[tpu]' "
            f"(Linux on x86-64; this is {platform.system()} on {platform.machine()}); no TPU is needed"
        )


def _ending(code: int) -> str:
    if code in (-9, 137):
        return "was killed, most likely because this machine's memory is too small for the compilation"
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"


def _last_lines(text: str) -> str:
    return " / ".join(line.strip() for line in text.strip().splitlines()[-3:])[-1000:] or "it said nothing"
