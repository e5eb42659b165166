"""SEAL's stages with the model on a mesh of data, fsdp and model: what one device gives."""

import chex
import jax
import numpy as np
import pytest

from seal_jax.runtime.mesh import make_mesh, mesh_of
from seal_jax.runtime.placement import param_spec, shard_params
from seal_jax.seal import policy
from seal_jax.seal.answers import ask
from seal_jax.seal.inner_loop import Trial, run_trials

LAYOUT = "data=2,fsdp=2,model=2"


@pytest.fixture(scope="module")
def spread(tiny):
    return tiny._replace(params=shard_params(tiny.params, make_mesh(LAYOUT), tiny.config))


@pytest.fixture(scope="module")
def people(passages):
    return passages(3)


def test_written_edits_are_those_of_one_device(tiny, spread, people, settings):
    assert policy.write_edits(spread, people, settings.edits, 3) == policy.write_edits(tiny, people, settings.edits, 3)


def test_answers_and_trials_are_those_of_one_device(tiny, spread, people, settings):
    trials = [Trial(p.title, [p.context], p, seed=0, item=i) for i, p in enumerate(people)]
    for run in (
        lambda model: run_trials(model, trials, settings.inner, settings.answering),
        lambda model: ask(model, people, settings.answering),
    ):
        for found, wanted in zip(run(spread), run(tiny), strict=True):
            assert found["answers"] == wanted["answers"]
            np.testing.assert_allclose(found["loglik"], wanted["loglik"], atol=1e-4)
            np.testing.assert_allclose(found.get("loss", 0.0), wanted.get("loss", 0.0), atol=1e-4)


def test_the_policy_update_is_that_of_one_device(tiny, spread, people, settings):
    """Three rows do not divide over four devices; rows of padding make up for it."""
    rows = [{"prompt": f"Person: {p.title}\n", "completion": p.context} for p in people]
    adapter, losses = policy.improve(spread, rows, settings.policy, 0)
    wanted, wanted_losses = policy.improve(tiny, rows, settings.policy, 0)
    np.testing.assert_allclose(losses, wanted_losses, atol=1e-4)
    mesh = mesh_of(adapter)
    assert mesh is not None
    for path, leaf in jax.tree_util.tree_leaves_with_path(adapter):
        assert leaf.sharding.is_equivalent_to(
            jax.NamedSharding(mesh, param_spec(path, leaf, mesh, tiny.config)), leaf.ndim
        )
    merged, plain = policy.merge(spread, adapter), policy.merge(tiny, wanted)
    chex.assert_trees_all_close(jax.device_get(merged.params), jax.device_get(plain.params), atol=1e-4)
    kernel = merged.params["layers"]["mlp"]["down_proj"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape)[1:] == (kernel.shape[1] // 2, kernel.shape[2] // 2)
