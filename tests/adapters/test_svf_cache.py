"""Factors on disk: read instead of computed, whatever happened to the files; and the hash that names them."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import models
from seal_jax.adapters import attach, fingerprint, lora, svf, svf_cache
from seal_jax.runtime import mesh as meshes
from seal_jax.runtime import placement, resources

CONFIG = models.Config("llama", 48, 16, 24, 2, 2, 2, 8, 64)
UP = "layers/mlp/up_proj/kernel"


@pytest.fixture(scope="module")
def params():
    return models.init(jax.random.key(0), CONFIG)


@pytest.fixture
def decomposed(monkeypatch):
    """The layers that were decomposed, in order."""
    done, opened = [], svf_cache.open_factors

    def counting(kernel, rank):
        place, empty = opened(kernel, rank)

        def counted(factors, of, layer):
            if not isinstance(of, dict):
                done.append(layer)
            return place(factors, of, layer)

        return counted, empty

    monkeypatch.setattr(svf_cache, "open_factors", counting)
    return done


def same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    assert {x.dtype for x in jax.tree.leaves(found)} == {x.dtype for x in jax.tree.leaves(wanted)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_second_start_reads_what_the_first_has_written(tmp_path, params, decomposed, capsys, dtype):
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    first = svf.cached_factors(params, ("mlp", "lm_head"), cache=tmp_path)
    said = capsys.readouterr().err
    same(first, svf.factor(params, ("mlp", "lm_head")))
    assert decomposed == [0, 1] * 3 + [None]
    size = svf.size_of(first)
    assert f"SVF factors: {resources.gib(size)} of {resources.gib(size)} to be written to {tmp_path}/svf-" in said
    on_disk = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    assert size <= on_disk < size + 7 * 500
    decomposed.clear()
    same(svf.cached_factors(params, ("lm_head", "mlp"), cache=tmp_path), first)
    assert not decomposed
    assert not capsys.readouterr().err


def test_other_weights_targets_rank_and_dtype_are_other_files(tmp_path, params):
    other = jax.tree.map(lambda x: x, params)
    other["layers"]["mlp"] = jax.tree.map(lambda x: x.at[1, 0, 0].add(1e-6), params["layers"]["mlp"])
    half = jax.tree.map(lambda x: x.astype("bfloat16"), params)
    folders = {
        svf_cache.folder_of(*args, cache=tmp_path)
        for args in [(params, "mlp"), (params, "up_proj"), (params, "mlp", 5), (other, "mlp"), (half, "mlp")]
    }
    assert len(folders) == 5
    assert svf_cache.folder_of(params, ("up_proj", "mlp"), None, tmp_path) in folders
    embedding = {**params, "embed_tokens": other["norm"]}
    assert svf_cache.folder_of(embedding, "mlp", None, tmp_path) in folders  # nothing that is not factored counts


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other", "gone"])
def test_a_damaged_file_costs_one_decomposition(tmp_path, params, decomposed, damage, recwarn):
    first = svf.cached_factors(params, "mlp", cache=tmp_path)
    decomposed.clear()
    [file] = tmp_path.rglob("*up_proj.kernel.001.safetensors")
    data = file.read_bytes()
    flipped = bytes([data[-5] ^ 1])
    file.write_bytes({"cut": data[:-9], "bit": data[:-5] + flipped + data[-4:], "empty": b""}.get(damage, data))
    if damage == "other":
        [other] = tmp_path.rglob("*down_proj.kernel.001.safetensors")
        os.replace(other, file)
    if damage == "gone":
        file.unlink()
    same(svf.cached_factors(params, "mlp", cache=tmp_path), first)
    assert sorted(decomposed) == ([1, 1] if damage == "other" else [1])
    told = [str(w.message) for w in recwarn if "is damaged" in str(w.message)]
    assert [str(file) in text for text in told] == ([] if damage == "gone" else [True])
    decomposed.clear()
    same(svf.cached_factors(params, "mlp", cache=tmp_path), first)
    assert not decomposed


def test_a_start_that_was_killed_goes_on(tmp_path, params, decomposed, monkeypatch):
    write, written = svf_cache.write_atomic, []

    def dying(path, data):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data)

    monkeypatch.setattr(svf_cache, "write_atomic", dying)
    with pytest.raises(KeyboardInterrupt):
        svf.cached_factors(params, "mlp", cache=tmp_path)
    monkeypatch.setattr(svf_cache, "write_atomic", write)
    decomposed.clear()
    same(svf.cached_factors(params, "mlp", cache=tmp_path), svf.factor(params, "mlp"))
    assert len(decomposed) == 4


def test_a_full_disk_is_told_before_any_work(tmp_path, params, decomposed, monkeypatch):
    monkeypatch.setattr(resources, "free_disk", lambda path: 1000)
    with pytest.raises(resources.DoesNotFitError, match=r"SVF factors takes 0\.0 MB in .*, and its disk has 0\.0 MB"):
        svf.cached_factors(params, "mlp", cache=tmp_path)
    assert not decomposed


def test_sharded_parameters_have_the_same_files(tmp_path, params):
    mesh = meshes.make_mesh("data=2,fsdp=2,model=2")
    placed = placement.shard_params(params, mesh, CONFIG)
    one = svf.cached_factors(params, "mlp", 6, tmp_path)
    many = svf.cached_factors(placed, "mlp", 6, tmp_path)
    same(many, one)
    assert many[UP]["u"].sharding == svf.factor(placed, "mlp", 6)[UP]["u"].sharding
    assert len(list(tmp_path.iterdir())) == 1


def test_the_fingerprint_is_of_names_shapes_dtypes_and_bits(params):
    mark = fingerprint(params)
    assert len(mark) == 32
    assert fingerprint(models.unroll(params)) == mark
    assert fingerprint(jax.tree.map(np.asarray, params)) == mark
    placed = placement.shard_params(params, meshes.make_mesh("data=2,fsdp=2,model=2"), CONFIG)
    assert fingerprint(placed) == mark
    kernel = params["layers"]["mlp"]["up_proj"]["kernel"]
    swapped = kernel[::-1]
    others = [
        {**params, "norm": {"scale": params["norm"]["scale"].at[3].add(1e-7)}},
        {**params, "norm": {"bias": params["norm"]["scale"]}},
        {**params, "norm": {"scale": params["norm"]["scale"].reshape(4, 4)}},
        {**params, "norm": {"scale": params["norm"]["scale"].astype(jnp.bfloat16)}},
        {**params, "layers": {**params["layers"], "mlp": {"up_proj": {"kernel": swapped}}}},
    ]
    assert len({mark, *map(fingerprint, others)}) == 6
    assert fingerprint(others[0], [UP]) == fingerprint(params, [UP]) != mark


def test_a_fingerprint_that_cannot_be_is_refused(params):
    with pytest.raises(ValueError, match="'layers/x': these parameters have embed_tokens/embedding"):
        fingerprint(params, ["layers/x"])
    with pytest.raises(ValueError, match="q_proj/kernel is a LoRA: take the fingerprint of the base"):
        fingerprint(attach(params, lora.init(jax.random.key(0), params)))
