"""Transformer-squared in numbers: changing experts, serving several at once, the first pass, and one REINFORCE update.

- `compose`: all adapted matrices of an expert (MLPs), as a share of the matmul peak measured in the same run;
- `batch`: 8 different experts in one batch, against 8 batches;
- `passes`: pass 1 (which expert?) as a share of two-pass inference on the skills world;
- `reinforce`: one update against the same update in PyTorch, a sequence at a time with dense gradients, as the
  reference runs it: time, memory of gradients and optimizer state, peak memory of both.

    python -m benchmarks.svf [--json] [--sizes skills 12x768] [--rounds 3] [--only compose batch ...] [--gpu]

`--gpu` measures `compose` and `batch` at Llama-3-8B shapes in bfloat16 instead; it needs a GPU. Results:
docs/performance.md, "Experts of singular values".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import jax

from benchmarks import _measure, _reinforce, _svf_adapt, _svf_gpu, _svf_passes
from benchmarks._reinforce_work import SIZES, Work, config_of
from seal_jax import models
from seal_jax.adapters import svf

PARTS = ("compose", "batch", "passes", "reinforce")
# What `make bench` is held to on two cores: the reference's seconds over ours, by size, and our bytes over theirs.
GOALS = {"reinforce_time": _reinforce.GOALS, "reinforce_memory": _reinforce.MEMORY_GOAL}


def run(
    sizes: Sequence[str] = SIZES,
    rounds: int = 3,
    only: Sequence[str] = PARTS,
    gpu: bool = False,
    work: Work | None = None,
    problems: int = 256,
) -> dict[str, Any]:
    """Measure the parts `only` at every size (of `_reinforce_work.config_of`) on the CPU; with `gpu` 8B shapes instead.

    rounds: how often the compared programs take turns; work: of an update; problems: of the two passes.
    """
    result: dict[str, Any] = {"benchmark": "svf", **_measure.machine(), "goals": GOALS, "llama-3-8b": None}
    if gpu:
        result["llama-3-8b"] = _svf_gpu.measure()
        return result
    for size in sizes:
        result[size] = _at_size(config_of(size), rounds, only)
    if "passes" in only:
        result["passes"] = _svf_passes.measure(problems)
    if "reinforce" in only:
        result["reinforce"] = _reinforce.measure(sizes, rounds, work, peaks=work is None)
    return result


def _at_size(config: models.Config, rounds: int, only: Sequence[str]) -> dict[str, Any]:
    params = models.init(jax.random.key(0), config)
    factors = svf.factor(params)
    found: dict[str, Any] = {"parameters": sum(x.size for x in jax.tree.leaves(params))}
    if "compose" in only:
        found["compose"] = _svf_adapt.compose(params, factors, rounds)
    if "batch" in only:
        found["batch"] = _svf_adapt.batch(config, params, factors, rounds=rounds)
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line (`argv` without the program's name); prints and returns the result."""
    parser = argparse.ArgumentParser(prog="svf", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=[*SIZES, "tiny"])
    parser.add_argument("--rounds", type=int, default=3, help="turns of the compared programs")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--gpu", action="store_true", help="Llama-3-8B shapes in bfloat16 instead; needs a GPU")
    given = parser.parse_args(argv)
    result = run(given.sizes, given.rounds, given.only, given.gpu)
    print(json.dumps(result, indent=None if given.json else 2))
    return result


if __name__ == "__main__":
    main()
