"""Loading onto a mesh: the same numbers, and of the files the bytes of this process's parts alone."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from seal_jax import models
from seal_jax.models import stored
from seal_jax.runtime.mesh import make_mesh
from seal_jax.runtime.placement import param_spec

CONFIG = models.Config("llama", 80, 32, 48, 3, 4, 2, 8, 128)
NEOX = models.Config(
    "gpt_neox", 80, 32, 48, 2, 4, 4, 8, 128, activation="gelu", norm="layer", gated_mlp=False, fused_qkv=True,
    qkv_bias=True, output_bias=True, mlp_bias=True, residual="parallel", rotary_dim=2,
)  # fmt: skip


@pytest.fixture(scope="module", params=[CONFIG, NEOX], ids=["llama", "gpt_neox"])
def config(request):
    return request.param


@pytest.fixture(scope="module")
def saved(config, tmp_path_factory):
    """A checkpoint in several files, and its parameters."""
    folder = tmp_path_factory.mktemp("checkpoint")
    params = models.init(jax.random.key(0), config)
    models.save_pretrained(folder, config, params, max_shard_bytes=20_000)
    return folder, params


@pytest.fixture
def bytes_read(monkeypatch):
    """The sizes of the reads of tensors."""
    real, sizes = os.preadv, []

    def preadv(file, buffers, offset):
        sizes.append(real(file, buffers, offset))
        return sizes[-1]

    monkeypatch.setattr(stored.os, "preadv", preadv)
    return sizes


@pytest.mark.parametrize("spec", ["data=8", "fsdp=8", "data=4,model=2", "data=2,fsdp=2,model=2"])
def test_each_part_is_read_once_and_placed(saved, config, spec, bytes_read):
    """All devices are this process's, so together they need every byte, each once: no part is read for each device."""
    folder, params = saved
    mesh = make_mesh(spec)
    loaded = models.from_pretrained(folder, mesh=mesh).params
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(loaded):
        assert leaf.sharding == jax.NamedSharding(mesh, param_spec(path, leaf, mesh, config))
    assert sum(bytes_read) == sum(leaf.nbytes for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(("spec", "share"), [("data=2,fsdp=4", 4), ("data=4,model=2", 2)])
def test_a_process_reads_its_own_parts_alone(saved, config, spec, share, bytes_read, monkeypatch):
    """As if this process had the first device alone: every split leaf is read to a fraction."""
    folder, _ = saved
    mesh = make_mesh(spec)
    real = jax.NamedSharding.addressable_devices_indices_map
    first = lambda self, shape: dict(list(real(self, shape).items())[:1])  # noqa: E731
    monkeypatch.setattr(jax.NamedSharding, "addressable_devices_indices_map", first)
    monkeypatch.setattr(jax, "make_array_from_single_device_arrays", lambda shape, sharding, arrays: arrays[0])
    parts = models.from_pretrained(folder, mesh=mesh).params
    assert all(part.devices() == {jax.devices()[0]} for part in jax.tree.leaves(parts))
    assert sum(bytes_read) == sum(part.nbytes for part in jax.tree.leaves(parts))
    whole = jax.tree.leaves(jax.eval_shape(lambda: models.init(jax.random.key(0), config)))
    kernels = [part.size for part in jax.tree.leaves(parts) if part.ndim == 3]
    assert sum(kernels) * share == sum(leaf.size for leaf in whole if leaf.ndim == 3)


@pytest.mark.parametrize("mesh", ["", "data=2,fsdp=2,model=2"])
def test_unrolled_layers_are_read_as_they_are(saved, config, mesh, bytes_read):
    folder, params = saved
    made = make_mesh(mesh) if mesh else None
    loaded = models.from_pretrained(folder, mesh=made, unrolled=True).params
    wanted = models.unroll(models.from_pretrained(folder, mesh=made).params)
    jax.tree.map(np.testing.assert_array_equal, loaded, wanted)
    same = jax.tree.map(lambda a, b: a.sharding.is_equivalent_to(b.sharding, a.ndim), loaded, wanted)
    assert all(jax.tree.leaves(same))
    assert sum(bytes_read) == 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(params))


def test_parts_are_converted_and_checked(saved, config, tmp_path):
    folder, params = saved
    mesh = make_mesh("data=4,model=2")
    loaded = models.from_pretrained(folder, dtype="bfloat16", mesh=mesh).params
    jax.tree.map(np.testing.assert_array_equal, loaded, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params))
    models.save_pretrained(tmp_path, config, params)
    tensors = load_file(tmp_path / "model.safetensors")
    name = max(tensors, key=lambda n: ("dense_4h_to_h" in n or "down_proj" in n) and n.endswith("weight"))
    tensors[name][-1, -1] = np.nan
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(models.CheckpointError, match=f"{name}.* has NaN or inf as float32"):
        models.from_pretrained(tmp_path, mesh=mesh)


def test_filled_tensors_are_split_too(saved, config, tmp_path):
    folder, _ = saved
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    fill = lambda name, shape: np.arange(np.prod(shape), dtype=np.float32).reshape(shape)  # noqa: E731
    whole = models.from_pretrained(tmp_path, fill=fill).params
    split = models.from_pretrained(tmp_path, fill=fill, mesh=make_mesh("fsdp=4,model=2")).params
    jax.tree.map(np.testing.assert_array_equal, split, whole)


def test_parameters_on_a_mesh_are_saved_as_they_were(saved, config, tmp_path):
    folder, params = saved
    loaded = models.from_pretrained(folder, mesh=make_mesh("data=2,fsdp=2,model=2")).params
    for tree in (loaded, models.unroll(loaded)):
        models.save_pretrained(tmp_path, config, tree)
        jax.tree.map(np.testing.assert_array_equal, models.from_pretrained(tmp_path).params, params)


@pytest.mark.parametrize("stored_dtype", ["float16", "float32"])
@pytest.mark.parametrize("index", [(slice(0, 5), slice(0, 7)), (slice(1, 4), slice(2, 6)), (slice(2, 3), slice(0, 7))])
@pytest.mark.parametrize("transposed", [False, True])
def test_any_part_in_any_orientation(tmp_path, stored_dtype, index, transposed, monkeypatch):
    monkeypatch.setattr(stored, "BLOCK", 20)  # rows in several blocks
    tensor = np.arange(35).reshape(5, 7).astype(stored_dtype)
    save_file({"before": np.ones(3, np.float32), "x": tensor}, tmp_path / "x.safetensors")
    part = tensor[index].astype(np.float32)
    target = np.zeros(part.T.shape if transposed else part.shape, np.float32)
    stored.StoredFile(tmp_path / "x.safetensors").copy("x", index, target, "x", transposed=transposed)
    np.testing.assert_array_equal(target, part.T if transposed else part)


def test_a_file_that_shrinks_is_told(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": np.ones((4, 4), np.float32)}, path)
    file = stored.StoredFile(path)
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(models.CheckpointError, match="x: the file ends in the middle of it"):
        file.copy("x", (slice(0, 4), slice(0, 4)), np.zeros((4, 4), np.float32), "x")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_what_is_not_finite_is_found_wherever_it_is(dtype, monkeypatch):
    monkeypatch.setattr(stored, "BLOCK", 16)
    good = np.array([[0.0, -0.0, 1e-3, -3.5, 65000.0, -65000.0]] * 3).astype(dtype)
    stored.check_finite(good, "x")
    for value in (np.nan, np.inf, -np.inf):
        for place in np.ndindex(good.shape):
            bad = good.copy()
            bad[place] = value
            for array in (bad, bad.T):
                with pytest.raises(models.CheckpointError, match=f"x has NaN or inf as {dtype}"):
                    stored.check_finite(array, "x")
