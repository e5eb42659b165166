"""Expert files: bit for bit back, and one clear error for whatever else is at the path."""

import dataclasses
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save

from seal_jax import adapters, models
from seal_jax.transformer2 import (
    ExpertError,
    expert_files,
    list_library,
    load_expert,
    load_library,
    make_expert,
    save_expert,
    save_library,
)

CONFIG = models.Config("llama", 64, 32, 48, 2, 4, 2, 8, 64)
SMALL = {"layers": {"mlp": {"up_proj": {"kernel": jnp.eye(3, 4)[None]}}}}
UP = "layers/mlp/up_proj/kernel"


@pytest.fixture(scope="module")
def params():
    return models.init(jax.random.key(0), CONFIG)


@pytest.fixture(scope="module")
def experts(params):
    """One of each kind; LoRA in bfloat16."""
    raw = adapters.svf.init(jax.random.key(1), adapters.svf.factor(params), std=1.0)
    lora = adapters.lora.init(jax.random.key(2), params, rank=2)
    about = {"seed": 3, "score": 0.625, "base_name": "a/b", "settings": {"learning_rate": 2e-3, "of": ["ä", None]}}
    mixed = {path: {"z": jax.nn.sigmoid(entry["raw"])} for path, entry in raw.items()}
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), lora)
    return {
        "sums": make_expert(raw, params, task="sums", targets=("mlp",), **about),
        "mixed": make_expert(mixed, params, task=""),
        "low-rank": make_expert(half, params, task="t", compose="plain"),
    }


@pytest.fixture
def small(tmp_path):
    """The file of an expert of three numbers."""
    adapter = {UP: {"raw": jnp.array([[0.25, -1.0, 3.0]])}}
    return save_expert(tmp_path / "small.safetensors", make_expert(adapter, SMALL, task="t", seed=1, score=0.5))


@pytest.mark.parametrize("name", ["sums", "mixed", "low-rank"])
def test_back_as_it_was(experts, params, name, tmp_path):
    expert = experts[name]
    path = save_expert(tmp_path / f"{name}.safetensors", expert)
    again = load_expert(path, params)
    assert again.meta == expert.meta
    assert jax.tree.structure(again.adapter) == jax.tree.structure(expert.adapter)
    for a, b in zip(jax.tree.leaves(again.adapter), jax.tree.leaves(expert.adapter)):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    numbers = sum(x.nbytes for x in jax.tree.leaves(expert.adapter))
    assert path.stat().st_size < numbers + 4096
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert save_expert(tmp_path / "again.safetensors", again).read_bytes() == path.read_bytes()


def test_every_changed_byte_is_found(small):
    data = small.read_bytes()
    rng = np.random.default_rng(0)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= int(rng.integers(1, 256))
        small.write_bytes(changed)
        with pytest.raises(ExpertError, match=r"small\.safetensors"):
            load_expert(small)


def test_every_cut_and_what_is_added_is_found(small):
    data = small.read_bytes()
    for length in range(0, len(data), 7):
        small.write_bytes(data[:length])
        with pytest.raises(ExpertError, match=r"small\.safetensors"):
            load_expert(small)
    small.write_bytes(data + b"\0")
    with pytest.raises(ExpertError, match="not a complete safetensors file"):
        load_expert(small)


def test_random_bytes_are_no_expert(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "noise.safetensors"
    for length in (0, 1, 8, 9, 100, 1000):
        path.write_bytes(rng.bytes(length))
        with pytest.raises(ExpertError, match="not a complete safetensors file"):
            load_expert(path)


def rewritten(path, about=None, tensors=None):
    """The small file as another program would write it: changed, and with the checksum of what it now holds."""
    held = expert_files._tensors(path)
    known = expert_files._about(path)
    known.pop("sha256")
    tensors = {**held, **(tensors or {})}
    known = {**known, **(about or {})}
    known["sha256"] = expert_files._checksum(known, tensors)
    path.write_bytes(save(tensors, {expert_files.FIELD: json.dumps(known)}))
    return path


@pytest.mark.parametrize(
    ("about", "tensors", "message"),
    [
        ({"version": 2}, {}, "has version 2 of the format; this reads version 1"),
        ({"version": "1"}, {}, "its metadata has no version"),
        ({"targets": ["attention"]}, {}, f"{UP} is none of its targets, attention"),
        ({"targets": "mlp"}, {}, "field 'targets' is missing or 'mlp'"),
        ({"seed": True}, {}, "field 'seed'"),
        ({"score": "high"}, {}, "field 'score'"),
        ({"base": None}, {}, "field 'base'"),
        ({"settings": []}, {}, "field 'settings'"),
        ({"shapes": {UP: [1, 3, 0]}}, {}, "field 'shapes'"),
        ({"shapes": {UP: [3]}}, {}, "field 'shapes'"),
        ({"shapes": {UP: [1, 2, 2]}}, {}, r"raw has shape \(1, 3\)"),
        ({"shapes": {}}, {}, f"only one of them has {UP}"),
        ({"compose": "other"}, {}, "compose='other'"),
        ({}, {f"{UP}:raw": np.array([[1, np.nan, 2]], np.float32)}, "NaN or inf"),
        ({}, {f"{UP}:raw": np.array([[1, 2, 3]], np.int32)}, "has dtype I32; an expert has F32, BF16, F16"),
        ({}, {f"{UP}:other": np.ones((1, 3), np.float32)}, r"found: \[other, raw\]"),
        ({}, {"other": np.ones((1, 3), np.float32)}, "tensor 'other' is not PATH:NAME"),
    ],
)
def test_whoever_wrote_it_it_has_to_hold_together(small, about, tensors, message):
    with pytest.raises(ExpertError, match=r"small\.safetensors.*" + message):
        load_expert(rewritten(small, about, tensors))


def test_other_files(tmp_path, params):
    with pytest.raises(ExpertError, match="no such file"):
        load_expert(tmp_path / "none.safetensors")
    with pytest.raises(ExpertError, match="not a complete safetensors file"):
        load_expert(tmp_path)
    models.save_pretrained(tmp_path, CONFIG, params)
    with pytest.raises(ExpertError, match=r"model\.safetensors is a safetensors file, but no expert of save_expert"):
        load_expert(tmp_path / "model.safetensors")
    for text in ("[]", "{", "{}", '{"version": true}', "[" * 100_000):
        path = tmp_path / "odd.safetensors"
        path.write_bytes(save({"x": np.ones(1, np.float32)}, {expert_files.FIELD: text}))
        with pytest.raises(ExpertError, match=r"odd\.safetensors is damaged: its metadata"):
            load_expert(path)


def test_what_could_not_be_read_again_is_not_written(experts, tmp_path):
    expert = experts["sums"]
    path = tmp_path / "x.safetensors"
    [first, *_] = expert.adapter
    bad = {**expert.adapter, first: {"raw": expert.adapter[first]["raw"].at[0, 0].set(jnp.nan)}}
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), expert.adapter)
    for wrong, message in (
        (expert._replace(adapter=bad), "NaN or inf"),
        (expert._replace(adapter=wide), "has dtype float64; an expert has float32, bfloat16, float16"),
        (expert._replace(meta=expert.meta._replace(settings={"of": object()})), "settings of an expert are what JSON"),
        (expert._replace(meta=expert.meta._replace(seed=True)), "metadata field 'seed' is missing or True"),
    ):
        with pytest.raises(ExpertError, match=message):
            save_expert(path, wrong)
    with pytest.raises(ExpertError, match=r"an expert is a \.safetensors file"):
        save_expert(tmp_path / "x.npz", expert)
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(experts, small, monkeypatch):
    before = small.read_bytes()

    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        save_expert(small, experts["sums"])
    assert small.read_bytes() == before
    assert [p.name for p in small.parent.iterdir()] == [small.name]


def test_another_base(experts, tmp_path):
    path = save_expert(tmp_path / "sums.safetensors", experts["sums"])
    other = models.init(jax.random.key(9), CONFIG)
    found = expert_files.base_fingerprint(other)
    with pytest.raises(ExpertError, match=rf"{experts['sums'].meta.base} \(a/b\), and this model is {found}"):
        load_expert(path, other)
    assert load_expert(path, other, allow_transfer=True).meta == experts["sums"].meta
    deeper = models.init(jax.random.key(9), dataclasses.replace(CONFIG, num_layers=3))
    with pytest.raises(ExpertError, match="used on another base only where layers and singular values are equal"):
        load_expert(path, deeper, allow_transfer=True)


def test_libraries(experts, params, tmp_path, monkeypatch):
    save_library(tmp_path / "lib", experts)
    assert list_library(tmp_path / "lib") == {name: experts[name].meta for name in sorted(experts)}
    hashed = []
    real = expert_files.base_fingerprint
    monkeypatch.setattr(expert_files, "base_fingerprint", lambda p: hashed.append(1) or real(p))
    assert list(load_library(tmp_path / "lib", params)) == sorted(experts)
    assert len(hashed) == 1
    assert list(load_library(tmp_path / "lib", params, ["sums", "mixed"], base=real(params))) == ["sums", "mixed"]
    with pytest.raises(ExpertError, match="has no expert 'other'; it has low-rank, mixed, sums"):
        load_library(tmp_path / "lib", params, ["other"])
    (tmp_path / "lib" / "torn.safetensors").write_bytes(b"\x00")
    with pytest.raises(ExpertError, match=r"torn\.safetensors: not a complete"):
        load_library(tmp_path / "lib", params)


def test_empty_libraries(params, tmp_path):
    assert list_library(tmp_path) == {}
    with pytest.raises(ExpertError, match="holds no expert"):
        load_library(tmp_path, params)
    with pytest.raises(ExpertError, match="no such folder"):
        list_library(tmp_path / "none")
