"""The count of floating-point operations, against a count by hand."""

import functools

import jax
import jax.numpy as jnp
import pytest

from seal_jax import models
from seal_jax.plan.flops import matmul_flops
from seal_jax.plan.programs import programs
from seal_jax.plan.settings import Settings
from seal_jax.runtime.mesh import make_mesh

L, H, KV, D, HIDDEN, WIDE, V = 3, 4, 2, 8, 48, 80, 96
CONFIG = models.Config("llama", V, HIDDEN, WIDE, L, H, KV, D, 512)
LAYER = HIDDEN * (H + 2 * KV) * D + H * D * HIDDEN + 3 * HIDDEN * WIDE  # numbers in the kernels of a layer


def trained(tokens, length, rank, remat):
    """A LoRA step on q and v by hand: every base kernel forward and once backward (towards its input), the adapter
    forward and twice backward, attention likewise; what is recomputed is a layer without its last product."""
    products = 2 * tokens * L * LAYER
    lora = 2 * tokens * L * rank * (HIDDEN + H * D + HIDDEN + KV * D)
    attention = 4 * tokens * L * H * D * length
    unembedding = 2 * tokens * HIDDEN * V
    recomputed = products - 2 * tokens * L * HIDDEN * WIDE + lora + attention
    return 2 * products + 3 * lora + 3 * attention + 2 * unembedding + (recomputed if remat else 0)


def test_forward_by_hand():
    tokens = jax.ShapeDtypeStruct((2, 16), jnp.int32)
    params = jax.eval_shape(functools.partial(models.init, config=CONFIG), jax.random.key(0))
    traced = jax.jit(lambda p, t: models.forward(p, CONFIG, t)).trace(params, tokens)
    assert matmul_flops(traced.jaxpr) == 2 * 32 * (L * LAYER + HIDDEN * V) + 4 * 32 * L * H * D * 16


@pytest.mark.parametrize("remat", [False, True])
def test_a_fine_tune_by_hand(remat):
    """Scans count as often as they run, and each branch of a step's length with its share of the steps."""
    settings = Settings(
        experiment="inner_loop", topology="v5e:2x4", rank=4, length=64, lines=3, line_length=16, epochs=2, remat=remat
    )
    traced = programs(settings, CONFIG, 4, make_mesh("data=4,model=2"))[0](None)
    by_hand = 2 * (3 * trained(4 * 16, 16, 4, remat) + trained(4 * 64, 64, 4, remat))
    assert traced.branch_shares == (0.75, 0.25)
    assert matmul_flops(traced.stage.jaxpr, traced.branch_shares) == pytest.approx(by_hand, rel=1e-9)


def test_loops_whose_end_is_in_the_data():
    matrix = jax.ShapeDtypeStruct((8, 8), jnp.float32)

    def loop(x):
        x = jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x, x)
        return jax.lax.while_loop(lambda x: x[0, 0] < 3, lambda x: x @ x, x)

    jaxpr = jax.jit(loop).trace(matrix).jaxpr
    assert matmul_flops(jaxpr, trips=5) == (2 + 5) * 2 * 8**3
