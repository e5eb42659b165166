"""Rows split over devices give the loss and the expert of one device, within 1e-4 for one step."""

import jax
import numpy as np
import pytest
import toy_tasks

from seal_jax import adapters, models, training
from seal_jax.runtime.mesh import make_mesh
from seal_jax.runtime.placement import shard_params
from seal_jax.transformer2.rows import Row
from seal_jax.transformer2.update import Program, begin, layered, update


def test_one_update():
    config, stacked, _ = toy_tasks.model()
    factors = adapters.svf.factor(stacked)
    expert = adapters.svf.init(jax.random.key(1), factors, std=1.0)
    rng = np.random.default_rng(0)
    given = [Row(rng.integers(1, 99, 5).tolist(), rng.integers(1, 99, 3).tolist(), 0.2, 0.1) for _ in range(7)]
    hyper = training.Hyper(0.05, 5, clip=0.0)
    program = Program(config, direction="forward")
    found = {}
    for spec in ("", "data=2,fsdp=2,model=2"):
        mesh = make_mesh(spec) if spec else None
        place = (lambda tree, mesh=mesh: shard_params(tree, mesh, config)) if mesh else (lambda tree: tree)
        params, cut = models.unroll(place(stacked)), layered(place(factors), config)
        state, losses = begin(place(expert), program), []
        for _ in range(2):
            state, metrics = update(params, state, given, hyper, program, factors=cut, micro_batch=4)
            losses.append([metrics["loss"], metrics["grad_norm"], metrics["divergence"]])
        found[spec] = losses, jax.tree.map(np.asarray, state.adapter)
    (one, alone), (many, split) = found.values()
    np.testing.assert_allclose(many, one, rtol=1e-4)
    for path, entry in alone.items():
        np.testing.assert_allclose(split[path]["raw"], entry["raw"], atol=1e-4)
    assert one[1][0] != pytest.approx(one[0][0], rel=1e-3)
