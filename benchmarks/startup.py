"""From the start of a process to the first logits: seconds and memory, ours and transformers, in turns.

A checkpoint of about 1 GB in several files is made on the spot (random weights, Llama shapes, float32, grouped keys).
Each measurement is a process of its own that imports the library, loads the checkpoint and computes the logits of one
short prompt. Between them the files stay in the page cache, for both.

Memory is the peak of the resident pages (VmHWM) above the baseline, which is the same process with everything imported
and nothing loaded. It counts the pages of mapped files, on which transformers computes: the system may drop them, and
has to read them again for the next token. We read instead of mapping, and what we hold is ours. The peak of anonymous
pages alone, sampled every 2 ms, is told beside it.

    python -m benchmarks.startup [--json] [--rounds 3] [--megabytes 1000]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import _measure
from seal_jax import models

GOALS = {"memory_over_weights": 1.15, "seconds_over_transformers": 1.0}
PROBE = pathlib.Path(__file__).parent / "_startup_probe.py"
WIDTH, LENGTH = 2048, 16


def config_of(megabytes: int) -> models.Config:
    """Llama shapes with so many layers that the weights take about `megabytes` MB in float32."""
    one = models.Config("llama", 16_000, WIDTH, 5632, 1, 16, 8, 128, 2048, tie_embeddings=True)
    layer = (one.head_dim * (2 * one.num_heads + 2 * one.num_kv_heads) + 3 * one.intermediate_size) * WIDTH * 4
    layers = max(round((megabytes * 1e6 - one.vocab_size * WIDTH * 4) / layer), 1)
    return models.Config(**{**vars(one), "num_layers": layers})


def run(megabytes: int = 1000, rounds: int = 3, config: models.Config | None = None) -> dict[str, Any]:
    """Measure both, `rounds` times in turns after one round that is not counted; the best of each counts.

    config: of the model, in place of one with so many megabytes of weights.
    """
    with tempfile.TemporaryDirectory() as folder:
        weights = _write(config or config_of(megabytes), folder)
        measured: dict[str, list[dict[str, Any]]] = {"ours": [], "transformers": []}
        for turn in range(rounds + 1):
            for name, found in measured.items():
                one = _probe(name, folder)
                if turn:
                    found.append(one)
        baselines = {name: _probe(name, "") for name in measured}
    best = {name: _best(found, baselines[name], weights) for name, found in measured.items()}
    apart = np.abs(np.subtract(measured["ours"][0]["logits"], measured["transformers"][0]["logits"])).max()
    return {
        "benchmark": "startup",
        **_measure.machine(),
        "weight_bytes": weights,
        **best,
        "memory_over_weights": best["ours"]["memory_over_weights"],
        "seconds_over_transformers": best["ours"]["seconds"] / best["transformers"]["seconds"],
        "largest_logit_difference": float(apart),
        "goals": GOALS,
    }


def _write(config: models.Config, folder: str) -> int:
    """Random weights in files of at most 256 MB; returns their bytes."""
    params = models.init(jax.random.key(0), config)
    models.save_pretrained(folder, config, params, max_shard_bytes=256 * 2**20)
    return sum(x.nbytes for x in jax.tree.leaves(params))


def _probe(name: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, str(PROBE), name, folder]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROBE.parents[1], check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _best(found: list[dict[str, Any]], baseline: dict[str, Any], weights: int) -> dict[str, Any]:
    quickest = min(found, key=lambda x: x["seconds"])
    least = min(found, key=lambda x: x["peak"])
    return {
        "seconds": quickest["seconds"],
        "stages": quickest["stages"],
        "cpu_seconds": min(x["cpu_seconds"] for x in found),
        "peak_bytes": least["peak"],
        "peak_anonymous_bytes": least["anonymous"],
        "baseline_bytes": baseline["peak"],
        "memory_over_weights": (least["peak"] - baseline["peak"]) / weights,
        "anonymous_over_weights": (least["anonymous"] - baseline["anonymous"]) / weights,
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line (`argv` without the program's name); prints and returns the result."""
    parser = argparse.ArgumentParser(prog="startup", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1000)
    given = parser.parse_args(argv)
    result = run(given.megabytes, given.rounds)
    print(json.dumps(result, indent=None if given.json else 2))
    return result


if __name__ == "__main__":
    main()
