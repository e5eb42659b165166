"""What it takes to change the expert: composing all adapted matrices, and decoding with several experts at once."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _measure
from seal_jax import adapters, generation, models
from seal_jax.adapters import Adapter

PROMPT = 32


def compose(
    params: models.Params, factors: Adapter, rounds: int = 5, peak_sizes: tuple[int, ...] = (1024, 2048)
) -> dict[str, Any]:
    """Composing every adapted matrix of an expert, as a share of what one large product reaches in the same run.

    params: stacked. One product a matrix is counted, `2 in out k`; the scaling and the addition to the base are not.
    """
    dtype = next(iter(factors.values()))["u"].dtype
    expert = adapters.svf.init(jax.random.key(1), factors, std=0.3)
    kernels = adapters.select(params, list(factors))

    @jax.jit
    def composed(kernels: Any, factors: Adapter, expert: Adapter) -> list[jax.Array]:
        found = adapters.attach(_tree(kernels), expert, factors, form="materialized")
        return jax.tree.leaves(adapters.materialize(found))

    jax.block_until_ready(composed(kernels, factors, expert))
    peaks = [_measure.matmul_peak(peak_sizes, dtype)]
    seconds = _measure.best([_measure.timed(lambda: composed(kernels, factors, expert)) for _ in range(rounds)]).wall
    peaks.append(_measure.matmul_peak(peak_sizes, dtype))
    work = sum(2 * kernel.size * factors[path]["s"].shape[-1] for path, kernel in kernels.items())
    return {
        "matrices": sum(len(kernel) for kernel in kernels.values()),
        "dtype": jnp.dtype(dtype).name,
        "gflop": work / 1e9,
        "seconds": seconds,
        "matmul_peak_gflops": max(peaks) / 1e9,
        "share_of_peak": work / seconds / max(peaks),
    }


def _tree(kernels: dict[str, jax.Array]) -> dict[str, Any]:
    """Kernels by path as a tree of parameters that has nothing else."""
    tree: dict[str, Any] = {}
    for path, kernel in kernels.items():
        *parts, last = path.split("/")
        at = tree
        for part in parts:
            at = at.setdefault(part, {})
        at[last] = kernel
    return tree


def batch(
    config: models.Config,
    params: models.Params,
    factors: Adapter,
    experts: int = 8,
    rows: int = 2,
    new: int = 32,
    rounds: int = 5,
) -> dict[str, Any]:
    """`rows` prompts for each of `experts` different experts: as one batch, and as so many batches one after the other.

    All decode greedily, `new` tokens a row. The separate batches are run with the expert's factors attached, and once
    with the expert composed into plain weights first, as systems without factors have to, that time included. With
    "base_too" one more group of rows uses no expert: then all rows read the kernels besides the factors.
    """
    params = models.unroll(params)
    drawn = [adapters.svf.init(jax.random.key(n), factors, std=0.3) for n in range(experts)]
    bank = jax.tree.map(lambda *x: jnp.stack(x), *drawn)
    prompts = np.random.default_rng(0).integers(1, config.vocab_size, ((experts + 1) * rows, PROMPT)).tolist()
    ids = [n for n in range(experts) for _ in range(rows)]
    how: dict[str, Any] = {"max_new_tokens": new, "eos": ()}

    def together(ids: Sequence[int]) -> list[list[int]]:
        given = {"adapters": bank, "adapter_ids": ids, "factors": factors, **how}
        return generation.generate(params, config, prompts[: len(ids)], None, **given).tokens

    def separate(form: str) -> list[list[int]]:
        found = []
        for n, expert in enumerate(drawn):
            adapted = _attached(params, expert, factors, form=form)
            own = prompts[n * rows : (n + 1) * rows]
            found += generation.generate(adapted, config, own, None, **how).tokens
        return found

    works = {
        "one_batch": lambda: together(ids),
        "separate": lambda: separate("factored"),
        "separate_composed": lambda: separate("materialized"),
        "base_too": lambda: together([*ids, *[-1] * rows]),
    }
    tokens = {name: work() for name, work in works.items()}
    seconds = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seconds[name].append(_measure.timed(work).wall)
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    return {
        "experts": experts,
        "rows": len(ids),
        "new_tokens": new,
        "seconds": middle,
        "separate_over_one_batch": _ratio(seconds["separate"], seconds["one_batch"]),
        "separate_composed_over_one_batch": _ratio(seconds["separate_composed"], seconds["one_batch"]),
        "seconds_per_row_with_base_rows_over_without": middle["base_too"]
        / (len(ids) + rows)
        / (middle["one_batch"] / len(ids)),
        "equal_tokens": float(np.mean(np.array(tokens["one_batch"]) == np.array(tokens["separate"]))),
    }


def _ratio(slower: Sequence[float], faster: Sequence[float]) -> dict[str, float]:
    """The median over the turns, and the least and the most."""
    ratios = [a / b for a, b in zip(slower, faster)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


@partial(jax.jit, static_argnames="form")
def _attached(params: models.Params, expert: Adapter, factors: Adapter, form: str) -> models.Params:
    found = adapters.attach(params, expert, factors, form=form)
    return adapters.materialize(found) if form == "materialized" else found
