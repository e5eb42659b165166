"""SEAL's inner loop: edits per second of PEFT as the reference runs it, of PEFT without padding, and of ours.

One edit is 9 sequences of about 50 tokens, 10 epochs, batch 1, LoRA r32 on q and v. All three train the same model from
the same weights in one process; (b) and (c) take turns, so that a disturbance meets both, and the best round counts.

    python -m benchmarks.inner_loop [--json] [--sizes 6M 12x768] [--rounds 3] [--gpu]

`--gpu` adds Qwen2.5-7B shapes in bf16 with random weights; it needs a GPU. Results: docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import transformers

from benchmarks import _gpu, _measure, _ours, _peft
from benchmarks._measure import Spent
from benchmarks._work import SHAPES, Work, flops_per_token
from seal_jax import models

# What `make bench` is held to on two cores: (c)/(a) and (c)/(b), None where nothing is asked.
GOALS: dict[str, tuple[float | None, float | None]] = {"6M": (20.0, 1.7), "12x768": (None, 1.3)}


def run(
    sizes: Sequence[str] = tuple(GOALS),
    rounds: int = 3,
    at_once: int = 16,
    gpu: bool = False,
    work: Work | None = None,
) -> dict[str, Any]:
    """Measure every size of `SHAPES` named in `sizes`, on the CPU in float32; with `gpu` also the real shapes.

    rounds: how often (b) and (c) take turns; at_once: N, the edits of one program.
    """
    work = Work() if work is None else work
    result: dict[str, Any] = {"benchmark": "inner_loop", **_measure.machine()}
    if gpu:
        result["qwen2.5-7b"] = _gpu.measure(SHAPES["qwen2.5-7b"], work)
        return result
    result["qwen2.5-7b"] = None  # not measured: needs --gpu
    peaks = [_peaks()]
    for size in sizes:
        result[size] = _measure_size(size, work, rounds, at_once)
        peaks.append(_peaks())
    result["matmul_peak_gflops"] = {name: max(p[name] for p in peaks) for name in peaks[0]}
    peak = max(result["matmul_peak_gflops"].values())
    for size in sizes:
        reached = result[size]["gflops"]
        result[size]["share_of_peak"] = {name: value / peak for name, value in reached.items()}
    return result


def _peaks() -> dict[str, float]:
    return {"jax": _measure.matmul_peak() / 1e9, "torch": _peft.matmul_peak() / 1e9}


def _measure_size(size: str, work: Work, rounds: int, at_once: int) -> dict[str, Any]:
    config = SHAPES[size]
    params = models.init(jax.random.key(0), config)
    edits = [work.edit(config.vocab_size, n) for n in range(at_once)]
    one, start = _ours.fresh_adapters(params, work, at_once)
    reference = _peft.Reference(_same_model(params, config), work, steps=work.sequences)
    threads = _peft.choose_threads(reference, edits[0][:3], _measure.machine()["cores"])
    reference = _peft.Reference(reference.model.unload(), work, steps=work.sequences)
    reference.copy(one)
    batch, unrolled = _ours.batches(edits, work.sequences), models.unroll(params)
    compiled = _measure.timed(lambda: _ours.train(unrolled, config, start, batch))
    plain, ours, difference = [], [], 0.0
    for turn in range(rounds):
        spent, losses = reference.time_steps(edits[0])
        plain.append(spent)
        ours.append(_measure.timed(lambda: _ours.train(unrolled, config, start, batch)))
        if turn == 0:
            trained = _ours.train(unrolled, config, start, batch)[1]
            difference = float(np.abs(np.asarray(trained[0]) - losses).max())
    padded = reference.time_steps(edits[0][:3], pad_to=work.padded_to)[0]
    per_step = Spent(*(x / (at_once * work.sequences) for x in _measure.best(ours)))
    tokens = sum(len(s) for edit in edits for s in edit) / (at_once * work.sequences)
    rates = {"peft_padded": padded, "peft": _measure.best(plain), "ours": per_step}
    return {
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "edits_at_once": at_once,
        "torch_threads": threads,
        "steps_per_edit": work.steps,
        "tokens_per_step": tokens,
        "padded_tokens_per_step": batch["tokens"].shape[-1],
        "edits_per_second": {name: 1 / (spent.wall * work.steps) for name, spent in rates.items()},
        "cpu_seconds_per_edit": {name: spent.cpu * work.steps for name, spent in rates.items()},
        "ours_over_peft_padded": padded.wall / per_step.wall,
        "ours_over_peft": rates["peft"].wall / per_step.wall,
        "goals": GOALS.get(size),
        "gflops": {name: tokens * flops_per_token(config, work) / rates[name].wall / 1e9 for name in ("peft", "ours")},
        "largest_loss_difference": difference,
        "compile_seconds": compiled.wall,
    }


def _same_model(params: models.Params, config: models.Config) -> Any:
    """The same weights in transformers."""
    with tempfile.TemporaryDirectory() as folder:
        models.save_pretrained(folder, config, params)
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line (`argv` without the program's name); prints and returns the result."""
    parser = argparse.ArgumentParser(
        prog="inner_loop", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--sizes", nargs="+", default=list(GOALS), choices=list(SHAPES)[:-1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=16, help="edits in one program")
    parser.add_argument("--gpu", action="store_true", help="Qwen2.5-7B shapes in bf16 instead; needs a GPU")
    given = parser.parse_args(argv)
    result = run(given.sizes, given.rounds, given.at_once, given.gpu)
    print(json.dumps(result, indent=None if given.json else 2))
    return result


if __name__ == "__main__":
    main()
