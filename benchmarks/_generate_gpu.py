"""Decoding at 7B shapes in bf16 on one GPU, as a share of the memory bandwidth it measures on the spot."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _measure
from seal_jax import generation, models

PROMPT, SHORT, LONG = 128, 64, 256


def measure(
    config: models.Config, batches: tuple[int, ...] = (1, 16), platform: str = "gpu", copied: int = 2**30
) -> dict[str, Any]:
    """Milliseconds a decode step and the share of bandwidth, by batch size, with random bf16 weights.

    A step reads every weight and the keys and values so far; its time is the difference of two lengths of generation,
    so that prefill and start-up drop out. copied: elements of the array whose copy gives the bandwidth.

    Raises RuntimeError where JAX sees no such device.
    """
    if jax.default_backend() != platform:
        raise RuntimeError(f"--gpu needs a GPU that jax sees, but its backend is {jax.default_backend()!r}")
    params = models.unroll(models.init(jax.random.key(0), config, jnp.bfloat16))
    bandwidth = _bandwidth(copied)
    weights = sum(x.nbytes for x in jax.tree.leaves(params))
    if not config.tie_embeddings:  # of the embedding a step reads its rows only
        weights -= params["embed_tokens"]["embedding"].nbytes
    slot = 2 * 2 * config.num_layers * config.num_kv_heads * config.head_dim  # bytes of one token's keys and values
    rows = {}
    for batch in batches:
        seconds = _seconds_per_step(params, config, batch)
        read = weights + batch * slot * (PROMPT + (SHORT + LONG) / 2)
        rows[batch] = {
            "milliseconds_per_step": 1e3 * seconds,
            "tokens_per_second": batch / seconds,
            "share_of_bandwidth": read / seconds / bandwidth,
        }
    return {"weights_gib": weights / 2**30, "bandwidth_gb_per_second": bandwidth / 1e9, "batch": rows}


def _bandwidth(elements: int, rounds: int = 10) -> float:
    """Bytes per second, read and written, of a pass over a bf16 array."""
    negate = jax.jit(jnp.negative)
    x = jax.block_until_ready(negate(jnp.ones((elements,), jnp.bfloat16)))
    jax.block_until_ready(negate(x))
    return 2 * x.nbytes / _measure.best([_measure.timed(lambda: negate(x)) for _ in range(rounds)]).wall


def _seconds_per_step(params: models.Params, config: models.Config, batch: int, rounds: int = 3) -> float:
    prompts = np.random.default_rng(0).integers(1, config.vocab_size, (batch, PROMPT)).tolist()
    best = {}
    for new in (SHORT, LONG):
        work = lambda n=new: generation.generate(params, config, prompts, None, n, eos=())  # noqa: E731
        work()
        best[new] = _measure.best([_measure.timed(work) for _ in range(rounds)]).wall
    return (best[LONG] - best[SHORT]) / (LONG - SHORT)
