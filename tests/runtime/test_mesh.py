"""The mesh: its text, which one arrays live on, and what is put on it."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from seal_jax.runtime import constraints
from seal_jax.runtime import mesh as meshes


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
    message = r"\['x'\] of shape \(6, 2\): its leading axis must be a multiple of data \* fsdp = 8"
    for spec in ("data=8", "data=4,fsdp=2"):
        with pytest.raises(ValueError, match=message):
            meshes.shard_leading({"x": np.zeros((6, 2))}, meshes.make_mesh(spec))


def test_rows_and_edits_are_split_over_data_and_fsdp():
    mesh = meshes.make_mesh("data=2,fsdp=2,model=2")
    assert meshes.row_groups(mesh) == 4
    edits = meshes.shard_leading(np.zeros((8, 3)), mesh)
    assert edits.sharding.shard_shape(edits.shape) == (2, 3)
    rows = meshes.shard_rows(np.zeros((5, 8, 3)), mesh)
    assert rows.sharding.shard_shape(rows.shape) == (5, 2, 3)


def test_the_mesh_of_a_tree_is_found_outside_of_programs_only():
    mesh = meshes.make_mesh("data=4,model=2")
    tree = {"a": np.zeros(3), "b": meshes.replicate(np.zeros(8), mesh)}
    assert meshes.mesh_of(tree) == mesh
    assert meshes.mesh_of({"a": jax.numpy.zeros(3)}) is None
    other = jax.sharding.NamedSharding(jax.make_mesh((8,), ("x",)), PartitionSpec())
    assert meshes.mesh_of(jax.device_put(np.zeros(8), other)) is None
    seen = []
    jax.jit(lambda x: seen.append(meshes.mesh_of(x)) or x)(tree["b"])
    assert seen == [None]


def test_use_is_seen_by_programs_and_makes_another_one():
    mesh, traced = meshes.make_mesh("data=4,model=2"), []
    program = jax.jit(lambda x: traced.append(constraints.current_mesh()) or x + 1)
    for context in (None, mesh, mesh, None):
        with meshes.use(context):
            program(1.0)
    assert [m if m is None else dict(m.shape) for m in traced] == [None, {"data": 4, "fsdp": 1, "model": 2}]
