"""One process of `startup`: `python _startup_probe.py ours|transformers FOLDER`; prints one line of JSON.

Seconds count from the start of the process, as the kernel noted it. Without a folder everything is imported (and the
backend started) and nothing loaded.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

TOKENS = [[(7 * i) % 1000 + 1 for i in range(16)]]


def _age() -> float:
    """Seconds since this process began, in the kernel's steps of 10 ms."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/uptime") as file:
        return float(file.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


# The kernel's clock is too coarse to tell the stages of a small model apart: it is read once, a finer one goes on.
BEGAN = time.perf_counter() - _age()


def since_start() -> float:
    """Seconds since this process began; a later call gives more."""
    return time.perf_counter() - BEGAN


def peak_resident() -> int:
    """Bytes. Not from `ru_maxrss`, which a process inherits from the one that started it."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


class Watch(threading.Thread):
    """Samples the anonymous memory of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0

    def run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            with open("/proc/self/statm") as file:
                _, resident, shared, *_ = map(int, file.read().split())
            self.most = max(self.most, (resident - shared) * page)
            time.sleep(0.002)


def ours(folder: str, stages: dict[str, float]) -> Any:
    """Logits of the last token."""
    sys.path.insert(0, os.getcwd())
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp

    from seal_jax import models

    tokens = jnp.asarray(TOKENS, jnp.int32)
    stages["imported"] = since_start()
    if not folder:
        return [0.0]
    model = models.from_pretrained(folder, unrolled=True)
    stages["loaded"] = since_start()
    step = jax.jit(lambda p: models.forward(p, model.config, tokens)[:, -1])
    return step(model.params)[0, :100].tolist()


def transformers(folder: str, stages: dict[str, float]) -> Any:
    """Logits of the last token."""
    import torch
    from transformers import AutoModelForCausalLM

    tokens = torch.tensor(TOKENS)
    stages["imported"] = since_start()
    if not folder:
        from transformers import LlamaForCausalLM  # noqa: F401  what the class of a model imports

        return [0.0]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, low_cpu_mem_usage=True)
    stages["loaded"] = since_start()
    with torch.no_grad():
        return model(tokens, logits_to_keep=1).logits[0, -1, :100].tolist()


def main() -> None:
    watch = Watch()
    watch.start()
    stages: dict[str, float] = {}
    logits = {"ours": ours, "transformers": transformers}[sys.argv[1]](sys.argv[2], stages)
    stages["logits"] = since_start()
    found = {
        "seconds": stages["logits"],
        "stages": stages,
        "cpu_seconds": time.process_time(),
        "peak": peak_resident(),
        "anonymous": watch.most,
        "logits": logits,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
