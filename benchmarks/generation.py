"""Tokens per second of `generate` against `transformers.generate`, and of many adapters in one batch.

Both decode greedily from the same weights and prompts, the same number of new tokens, with their key/value caches, in
float32 on all cores. They take turns, so that a disturbance meets both; a ratio is the median over the turns.

    python -m benchmarks.generation [--json] [--sizes 1M 90M] [--batches 1 16] [--rounds 5] [--gpu]

`--gpu` measures 7B shapes in bf16 with random weights instead, as a share of memory bandwidth; it needs a GPU. Results:
docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import _generate_gpu, _measure
from benchmarks._reference_generate import Reference
from benchmarks._work import SHAPES
from seal_jax import adapters, generation, models

SIZES: dict[str, models.Config] = {
    "tiny": SHAPES["tiny"],  # for the test of this benchmark
    "1M": models.Config("llama", 2048, 128, 344, 4, 4, 4, 32, 4096, tie_embeddings=True),
    "90M": SHAPES["12x768"],
}
# What `make bench` is held to on two cores: ours over transformers, by size and batch.
GOALS: dict[str, dict[int, float]] = {"1M": {1: 3.0, 16: 3.0}, "90M": {1: 1.3, 16: 1.15}}
PROMPT = 32
NEW = {"tiny": 8, "1M": 128, "90M": 32}


def run(
    sizes: Sequence[str] = tuple(GOALS), batches: Sequence[int] = (1, 16), rounds: int = 5, gpu: bool = False
) -> dict[str, Any]:
    """Measure every size of `SIZES` named in `sizes` at every batch size on the CPU; with `gpu` 7B shapes instead.

    rounds: how often the compared programs take turns.
    """
    result: dict[str, Any] = {"benchmark": "generation", **_measure.machine(), "7b": None}
    if gpu:
        result["7b"] = _generate_gpu.measure(SHAPES["qwen2.5-7b"])
        return result
    for size in sizes:
        config = SIZES[size]
        params = models.unroll(models.init(jax.random.key(0), config))
        reference = Reference(models.stack(params), config, result["cores"])
        result[size] = {
            "parameters": sum(x.size for x in jax.tree.leaves(params)),
            "new_tokens": NEW[size],
            "prompt_tokens": PROMPT,
            "batch": {b: _against_transformers(reference, params, size, b, rounds) for b in batches},
            "adapters": _adapters(params, size, max(batches), min(rounds, 3)),
        }
    return result


def _prompts(config: models.Config, batch: int) -> np.ndarray:
    return np.random.default_rng(batch).integers(1, config.vocab_size, (batch, PROMPT))


def _take_turns(rounds: int, **works: Callable[[], Any]) -> dict[str, list[float]]:
    """Seconds of every turn of each, after one that does not count."""
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seconds[name].append(_measure.timed(work).wall)
    return seconds


def _ratios(slower: list[float], faster: list[float]) -> dict[str, float]:
    """How many times faster: the median over the turns, and the least and the most."""
    ratios = [a / b for a, b in zip(slower, faster)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def _against_transformers(
    reference: Reference, params: models.Params, size: str, batch: int, rounds: int
) -> dict[str, Any]:
    config, new = SIZES[size], NEW[size]
    prompts = _prompts(config, batch)
    attention, threads = reference.choose(prompts, min(new, 16))
    theirs = lambda: reference.generate(prompts, new)  # noqa: E731
    ours = lambda: generation.generate(params, config, prompts.tolist(), None, new, eos=())  # noqa: E731
    agree = np.mean(theirs() == np.array(ours().tokens))
    seconds = _take_turns(rounds, transformers=theirs, ours=ours)
    return {
        "tokens_per_second": {name: batch * new / statistics.median(s) for name, s in seconds.items()},
        "ours_over_transformers": _ratios(seconds["transformers"], seconds["ours"]),
        "goal": GOALS.get(size, {}).get(batch),
        "transformers": {"attention": attention, "threads": threads},
        "equal_tokens": float(agree),
    }


def _adapters(params: models.Params, size: str, count: int, rounds: int) -> dict[str, Any]:
    """`count` adapters with one prompt each: in one batch, and in as many calls."""
    config, new = SIZES[size], NEW[size]
    stacked = models.stack(params)
    keys = jax.random.split(jax.random.key(1), count)
    bank = jax.vmap(lambda key: adapters.lora.init(key, stacked, rank=16, targets="all"))(keys)
    each = [jax.tree.map(lambda x, n=n: x[n], bank) for n in range(count)]
    prompts = _prompts(config, count).tolist()
    calls = lambda: [  # noqa: E731
        generation.generate(adapters.attach(params, one), config, [prompt], None, new, eos=())
        for one, prompt in zip(each, prompts)
    ]
    batch = lambda: generation.generate(  # noqa: E731
        params, config, prompts, None, new, eos=(), adapters=bank, adapter_ids=range(count)
    )
    seconds = _take_turns(rounds, calls=calls, batch=batch)
    return {
        "count": count,
        "tokens_per_second": {name: count * new / statistics.median(s) for name, s in seconds.items()},
        "batch_over_calls": _ratios(seconds["calls"], seconds["batch"]),
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line (`argv` without the program's name); prints and returns the result."""
    parser = argparse.ArgumentParser(
        prog="generation", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--sizes", nargs="+", default=list(GOALS), choices=list(SIZES))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=5, help="turns of the compared programs")
    parser.add_argument("--gpu", action="store_true", help="7B shapes in bf16 instead; needs a GPU")
    given = parser.parse_args(argv)
    result = run(given.sizes, given.batches, given.rounds, given.gpu)
    print(json.dumps(result, indent=None if given.json else 2))
    return result


if __name__ == "__main__":
    main()
