"""RAIN in numbers: what a searched token costs, against greedy decoding and against a plain loop.

A random Llama of 3.7M parameters (4 layers of 256; 1024 tokens, of which a byte tokenizer has 257), prompts of 382
tokens, a judge's prompt of 1169, 64 new tokens. Logits are scaled by 8; a bias lets a sentence end with probability
1/8 and the text never. The judge reads the last 36 tokens of the prompt and what follows, at most 110, and answers;
its verdict is overruled by a policy: all texts are good, half of them by a hash, or none.

In turns, in float32 on all cores, of the same weights: `transformers.generate` (greedy, cached), our `generate`
(greedy), `rain.search` on prompts one at a time and on 16 at once, and a plain loop (`_rain_plain.py`, one turn and one
prompt). A ratio is the median over the turns; one by searches is divided by how many searches a token took, which
differs between prompts. Programs are compiled before, and the judge's prompt is read before.

    python -m benchmarks.rain [--json] [--policies safe half unsafe] [--rounds 3] [--batch 16] [--gpu]

`--gpu` measures Llama-2-7B shapes in bfloat16 instead; it needs a GPU. Results: docs/performance.md, "RAIN".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from benchmarks import _measure, _rain_gpu, _rain_plain, _rain_turns
from benchmarks._rain_recipe import SHARES, Recipe, Work, make
from benchmarks._reference_generate import Reference
from seal_jax import models

# Searched one at a time; with `safe` as many as at once, so that those are compared on equal work.
PROMPTS = {"safe": 16, "half": 2, "unsafe": 1}
GREEDY = 6  # prompts of a turn of greedy decoding
# What `make bench` is held to on two cores: means over searches, and times of transformers' greedy decoding.
GOALS = {
    "passes_per_search": 25,
    "tokens_per_search": 400,
    "over_transformers": {"safe": 8.0, "half": 30.0, "unsafe": 50.0},
    "batch_over_one": 1.3,
    "batch_over_one_gpu": 8.0,
}


def run(
    policies: Sequence[str] = tuple(SHARES),
    rounds: int = 3,
    prompts: Mapping[str, int] = PROMPTS,
    batch: int = 16,
    gpu: bool = False,
    recipe: Recipe | None = None,
) -> dict[str, Any]:
    """Measure every policy (of `_rain_recipe.SHARES`) on the CPU; with `gpu` Llama-2-7B shapes instead.

    rounds: turns of the compared programs, of which the plain loop takes one, and so does a batch of more prompts;
    prompts: how many are searched one at a time, by policy; batch: how many at once, these and more.
    """
    result: dict[str, Any] = {"benchmark": "rain", **_measure.machine(), "goals": GOALS, "llama-2-7b": None}
    if gpu:
        result["llama-2-7b"] = _rain_gpu.measure()
        return result
    work = make(recipe or Recipe(), max(batch, GREEDY, *prompts.values()))
    reference = Reference(models.stack(work.params), work.recipe.config, result["cores"])
    attention, threads = reference.choose(work.prompts[:1], work.recipe.new)
    result["parameters"] = sum(x.size for x in jax.tree.leaves(work.params))
    result["transformers"] = {"attention": attention, "threads": threads}
    _rain_turns.compile_all(work, batch)
    for policy in policies:
        result[policy] = _of_policy(work, reference, policy, rounds, prompts[policy], batch)
    return result


def _of_policy(work: Work, reference: Reference, policy: str, rounds: int, prompts: int, batch: int) -> dict[str, Any]:
    new = work.recipe.new
    loop = _rain_plain.Search(reference.model, work, policy)
    turns = {
        "transformers": lambda: _rain_turns.greedy(work, GREEDY, lambda p: reference.generate(p, new)),
        "greedy": lambda: _rain_turns.greedy(work, GREEDY, _rain_turns.ours(work)),
        "one": lambda: _rain_turns.searched(work, policy, prompts, 1),
        "batch": lambda: _rain_turns.searched(work, policy, batch, batch),
        "plain": lambda: _rain_turns.looped(work, loop),
    }
    once = ("plain",) if prompts == batch else ("plain", "batch")
    seconds, last = _rain_turns.take(rounds, turns, once)

    def ratio(slow: str, fast: str, by_searches: bool = False) -> dict[str, float]:
        more = last[slow].searches_per_token / last[fast].searches_per_token if by_searches else 1.0
        return _rain_turns.ratios(seconds[slow], seconds[fast], more)

    return {
        "milliseconds_per_token": {name: 1e3 * _rain_turns.median(times) for name, times in seconds.items()},
        "over_transformers": ratio("one", "transformers"),
        "over_greedy": ratio("one", "greedy"),
        "batch_over_one": ratio("one", "batch"),
        "batch_over_one_by_searches": ratio("one", "batch", by_searches=True),
        "batch_over_transformers": ratio("batch", "transformers"),
        "plain_over_transformers": ratio("plain", "transformers"),
        "plain_over_one": ratio("plain", "one"),
        "plain_over_one_by_searches": ratio("plain", "one", by_searches=True),
        **{name: last[name]._asdict() for name in ("one", "batch", "plain")},
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line (`argv` without the program's name); prints and returns the result."""
    parser = argparse.ArgumentParser(prog="rain", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--policies", nargs="+", default=list(SHARES), choices=list(SHARES))
    parser.add_argument("--rounds", type=int, default=3, help="turns of the compared programs")
    parser.add_argument("--batch", type=int, default=16, help="prompts searched at once")
    parser.add_argument("--gpu", action="store_true", help="Llama-2-7B shapes in bfloat16 instead; needs a GPU")
    given = parser.parse_args(argv)
    result = run(given.policies, given.rounds, batch=given.batch, gpu=given.gpu)
    print(json.dumps(result, indent=None if given.json else 2))
    return result


if __name__ == "__main__":
    main()
