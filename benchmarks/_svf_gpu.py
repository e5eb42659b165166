"""SVF at Llama-3-8B shapes in bfloat16 on one GPU, with random weights and random (orthogonal) factors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import _measure, _svf_adapt
from seal_jax import models
from seal_jax.adapters import Adapter, svf

LLAMA_3_8B = models.Config("llama", 128256, 4096, 14336, 32, 32, 8, 128, 8192, rope_theta=5e5)


def measure(config: models.Config = LLAMA_3_8B, platform: str = "gpu", peak_size: int = 8192) -> dict[str, Any]:
    """Composing all MLP matrices as a share of the bfloat16 peak, and 8 experts in one batch.

    The time of an operation does not depend on the values, so factors are drawn; decomposing all matrices would take
    longer than everything else, and that of one is measured. Raises RuntimeError where JAX sees no such device.
    """
    if jax.default_backend() != platform:
        raise RuntimeError(f"--gpu needs a GPU that jax sees, but its backend is {jax.default_backend()!r}")
    init = jax.jit(models.init, static_argnums=(1, 2))  # compiled as one, so that no float32 copy of all weights exists
    params = init(jax.random.key(0), config, jnp.bfloat16)
    factors = _drawn(params)
    found: dict[str, Any] = {"compose": _svf_adapt.compose(params, factors, peak_sizes=(peak_size,))}
    kernel = params["layers"]["mlp"]["up_proj"]["kernel"][0]
    decompose = lambda: svf.factor({"x": {"kernel": kernel}}, "x")  # noqa: E731
    decompose()
    found["seconds_to_decompose_a_matrix"] = _measure.timed(decompose).wall
    found["batch"] = _svf_adapt.batch(config, params, factors, new=64, rounds=3)
    found["peak_bytes"] = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return found


def _drawn(params: models.Params) -> Adapter:
    """Factors of the right shapes and dtypes; columns of u and vt of about length 1, singular values that fall."""

    def draw(key: jax.Array, name: str, kind: jax.ShapeDtypeStruct) -> jax.Array:
        if name == "s":
            return jnp.broadcast_to(jnp.linspace(2.0, 0.1, kind.shape[-1], dtype=jnp.float32), kind.shape)
        long = kind.shape[-2 if name == "u" else -1]
        return jax.random.normal(key, kind.shape, kind.dtype) * jnp.asarray(long**-0.5, kind.dtype)

    drawn = jax.jit(draw, static_argnums=(1, 2))
    keys = iter(jax.random.split(jax.random.key(1), 64))
    shapes = svf.shapes(params)
    return {path: {n: drawn(next(keys), n, kind) for n, kind in kinds.items()} for path, kinds in shapes.items()}
