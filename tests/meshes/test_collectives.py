"""The reader of collectives, on text written for it and on a program whose collectives are known."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from seal_jax.runtime.collectives import collectives, counts
from seal_jax.runtime.mesh import make_mesh

TEXT = """HloModule m

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%inner (p: (s32[], f32[2,8])) -> (s32[], f32[2,8]) {
  %ar = f32[2,8]{1,0} all-reduce(%x), to_apply=%sum, metadata={op_name="jit(f)/dot_general"}
}

%body (p: (s32[], f32[2,8])) -> (s32[], f32[2,8]) {
  %w = (s32[], f32[2,8]) while(%t), condition=%cond, body=%inner
  %both = (f32[4]{0}, bf16[2]{0}) all-reduce(%x, %y), to_apply=%sum
}

%cond (p: (s32[], f32[2,8])) -> pred[] {
  ROOT %lt = pred[] compare(%a, %b), direction=LT
}

ENTRY %main (x: f32[2,8]) -> f32[2,8] {
  %start = (f32[2,8]{1,0}, f32[16,8]{1,0}) all-gather-start(%x), dimensions={0}
  %done = f32[16,8]{1,0} all-gather-done(%start)
  %w = (s32[], f32[2,8]) while(%t), condition=%cond, body=%body
}
"""


def test_text():
    found = [(c.kind, c.shapes, c.bytes, c.loops, c.source) for c in collectives(TEXT)]
    assert found == [
        ("all-reduce", ("f32[2,8]",), 64, 2, "jit(f)/dot_general"),
        ("all-reduce", ("f32[4]", "bf16[2]"), 20, 1, ""),
        ("all-gather", ("f32[16,8]",), 512, 0, ""),
    ]
    assert counts(TEXT) == {"all-reduce": 2, "all-gather": 1}
    assert counts(TEXT, in_loop=True) == {"all-reduce": 2}
    assert counts(TEXT, in_loop=False) == {"all-gather": 1}


def test_program():
    mesh = make_mesh("model=8")
    w = jax.device_put(np.ones((16, 4), np.float32), NamedSharding(mesh, PartitionSpec("model")))
    x = jax.device_put(np.ones((4, 16), np.float32), NamedSharding(mesh, PartitionSpec(None, "model")))
    step = jax.jit(lambda x, w: jax.lax.fori_loop(0, 3, lambda _, s: s + jnp.tanh(s[0, 0] * x) @ w, jnp.zeros((4, 4))))
    [found] = collectives(step.lower(x, w).compile().as_text())
    assert (found.kind, found.shapes, found.bytes, found.loops) == ("all-reduce", ("f32[4,4]",), 64, 1)
