"""The mesh, its placement rules, and a fine-tune sharded over edits on 8 fake devices."""

import re

import chex
import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from seal_jax import adapters, models, training
from seal_jax.runtime import mesh as meshes

CONFIG = models.Config("llama", 64, 32, 48, 2, 4, 2, 8, 128)
N, S, B, T = 8, 10, 1, 12
COLLECTIVE = re.compile(r"\b(?:all-reduce|all-gather|all-to-all|collective-\w+|reduce-scatter)(?:-start)?\(")


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("data=8", (8, 1, 1)),
        ("data=4,model=2", (4, 1, 2)),
        ("fsdp=2, data=-1", (4, 2, 1)),
        ("data=2,fsdp=2,model=2", (2, 2, 2)),
    ],
)
def test_make_mesh(spec, shape):
    mesh = meshes.make_mesh(spec)
    assert tuple(mesh.shape.items()) == tuple(zip(("data", "fsdp", "model"), shape))
    assert set(mesh.axis_types) == {AxisType.Auto}


def test_default_mesh_takes_every_device():
    assert meshes.make_mesh().shape["data"] == len(jax.devices()) == 8
    assert meshes.make_mesh("", devices=jax.devices()[:1]).size == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("data=3", "does not multiply to the 8 devices"),
        ("data=-1,model=3", "does not multiply to the 8 devices"),
        ("data=-1,model=-1", "only one axis may be -1"),
        ("tensor=8", "is not AXIS=SIZE with AXIS one of data, fsdp, model"),
        ("data=0", "is not AXIS=SIZE"),
        ("data=-2", "is not AXIS=SIZE"),
        ("8", "is not AXIS=SIZE"),
    ],
)
def test_bad_mesh(spec, message):
    with pytest.raises(ValueError, match=message):
        meshes.make_mesh(spec)


def test_shard_leading_needs_a_multiple():
    with pytest.raises(ValueError, match=r"\['x'\] of shape \(6, 2\): its leading axis must be a multiple of data=8"):
        meshes.shard_leading({"x": np.zeros((6, 2))}, meshes.make_mesh("data=8"))


def test_param_rules():
    mesh = meshes.make_mesh("data=2,fsdp=2,model=2")
    params = jax.eval_shape(lambda key: models.init(key, CONFIG), jax.random.key(0))
    specs = jax.tree_util.tree_map_with_path(lambda path, leaf: meshes.param_spec(path, leaf, mesh), params)
    layers = specs["layers"]
    assert layers["self_attn"]["q_proj"]["kernel"] == PartitionSpec(None, "fsdp", "model")
    assert layers["self_attn"]["o_proj"]["kernel"] == PartitionSpec(None, "model", "fsdp")
    assert layers["mlp"]["down_proj"]["kernel"] == PartitionSpec(None, "model", "fsdp")
    assert layers["input_layernorm"]["scale"] == PartitionSpec(None, None)
    assert specs["lm_head"]["kernel"] == PartitionSpec("fsdp", "model")
    assert specs["embed_tokens"]["embedding"] == PartitionSpec("model", "fsdp")
    wide = meshes.make_mesh("model=8")
    odd = jax.ShapeDtypeStruct((2, 32, 12), np.float32)
    assert meshes.param_spec(_path("q_proj", "kernel"), odd, wide) == PartitionSpec(None, "fsdp", None)
    bias = jax.ShapeDtypeStruct((2, 16), np.float32)
    assert meshes.param_spec(_path("q_proj", "bias"), bias, wide) == PartitionSpec(None, "model")


def _path(*names):
    return tuple(jax.tree_util.DictKey(name) for name in names)


@pytest.fixture(scope="module")
def edits():
    """Parameters, and adapters, batches and settings of 8 edits, the last with their own step counts."""
    params = models.unroll(models.init(jax.random.key(0), CONFIG))
    inits = [adapters.lora.init(jax.random.key(i), models.stack(params), rank=4, alpha=8) for i in range(N)]
    rng = np.random.default_rng(0)
    mask = np.arange(T) < rng.integers(4, T + 1, (N, S, B, 1))
    batches = {"tokens": rng.integers(1, 64, (N, S, B, T), np.int32), "mask": mask}
    hyper = training.Hyper(np.geomspace(1e-3, 3e-2, N), np.array([10, 7] * 4))
    return params, jax.tree.map(lambda *x: np.stack(x), *inits), batches, hyper


@pytest.fixture(scope="module")
def alone(edits):
    return training.finetune_batch(edits[0], CONFIG, *edits[1:])


def test_sharded_over_edits_is_unsharded(edits, alone):
    mesh = meshes.make_mesh("data=8")
    params, rest = meshes.replicate(edits[0], mesh), meshes.shard_leading(edits[1:3], mesh)
    adapters_, metrics = training.finetune_batch(params, CONFIG, *rest, edits[3])
    np.testing.assert_allclose(metrics["loss"], alone[1]["loss"], atol=1e-5)
    chex.assert_trees_all_close(jax.device_get(adapters_), jax.device_get(alone[0]), atol=1e-4)
    for leaf in jax.tree.leaves(adapters_):
        assert leaf.sharding.spec[0] == "data"
        assert leaf.addressable_shards[0].data.shape[0] == 1


def test_edits_do_not_communicate(edits):
    """8 edits on 8 devices compile to no collective at all; with the weights split there are some, so we would see."""
    assert not _collectives(edits, "data=8", meshes.replicate)
    assert _collectives(edits, "data=4,model=2", meshes.shard_params)


def _collectives(edits, spec, place):
    mesh = meshes.make_mesh(spec)
    train = jax.jit(lambda params, *rest: training.finetune_batch(params, CONFIG, *rest, edits[3]))
    placed = place(edits[0], mesh), *meshes.shard_leading(edits[1:3], mesh)
    hlo = train.lower(*placed).compile().as_text()
    assert "while" in hlo
    return COLLECTIVE.findall(hlo)
