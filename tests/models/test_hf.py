"""Loading and saving checkpoints: shards, dtypes, meshes, tokenizers, memory, and what `fill` is for."""

import fnmatch
import json
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
import transformers
from safetensors.numpy import load_file

from seal_jax import adapters, models
from seal_jax.runtime.mesh import make_mesh

CONFIG = models.Config("llama", 64, 32, 48, 3, 4, 2, 8, 128, eos_token_ids=(2, 5), bos_token_id=1)


@pytest.fixture(scope="module")
def params():
    return models.init(jax.random.key(0), CONFIG)


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_shards_and_their_index_hold_the_whole_model(params, tmp_path):
    models.save_pretrained(tmp_path, CONFIG, params, max_shard_bytes=20_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 2
    assert all((tmp_path / shard).stat().st_size < 25_000 for shard in shards)
    assert index["metadata"]["total_size"] == sum(x.nbytes for x in jax.tree.leaves(params))
    assert_equal(models.from_pretrained(tmp_path).params, params)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    np.testing.assert_array_equal(
        theirs.model.layers[1].mlp.up_proj.weight.detach().numpy(), params["layers"]["mlp"]["up_proj"]["kernel"][1].T
    )


def test_saving_again_leaves_nothing_of_the_older_save(params, tmp_path):
    other = jax.tree.map(lambda x: x + 1, params)
    models.save_pretrained(tmp_path, CONFIG, other)
    models.save_pretrained(tmp_path, CONFIG, params, max_shard_bytes=20_000)
    assert not (tmp_path / "model.safetensors").exists()
    assert_equal(models.from_pretrained(tmp_path).params, params)
    models.save_pretrained(tmp_path, CONFIG, other)
    assert [p.name for p in tmp_path.glob("*.safetensors*")] == ["model.safetensors"]
    assert_equal(models.from_pretrained(tmp_path).params, other)


def test_unrolled_parameters_are_saved_alike(params, tmp_path):
    models.save_pretrained(tmp_path / "stacked", CONFIG, params)
    models.save_pretrained(tmp_path / "unrolled", CONFIG, models.unroll(params))
    stacked, unrolled = (load_file(tmp_path / kind / "model.safetensors") for kind in ("stacked", "unrolled"))
    assert stacked.keys() == unrolled.keys()
    assert_equal(stacked, unrolled)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_parameters_come_in_the_dtype_asked_for(params, tmp_path, dtype):
    models.save_pretrained(tmp_path, CONFIG, params)
    loaded = models.from_pretrained(tmp_path, dtype=dtype).params
    assert {x.dtype.name for x in jax.tree.leaves(loaded)} == {dtype}
    assert_equal(loaded, jax.tree.map(lambda x: x.astype(dtype), params))


def test_adapted_weights_are_refused_until_materialized(params, tmp_path):
    adapter = adapters.lora.init(jax.random.key(1), params, rank=2, targets="q_proj")
    adapter = jax.tree.map(lambda x: x + 0.1, adapter)
    adapted = adapters.attach(params, adapter)
    with pytest.raises(models.CheckpointError, match="materialize first"):
        models.save_pretrained(tmp_path, CONFIG, adapted)
    assert not list(tmp_path.iterdir())
    models.save_pretrained(tmp_path, CONFIG, adapters.materialize(adapted))
    assert_equal(models.from_pretrained(tmp_path).params, adapters.materialize(adapted))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: {**p, "norm": {"scale": p["norm"]["scale"][:-1]}}, "norm/scale"),
        (lambda p: {k: v for k, v in p.items() if k != "lm_head"}, "lm_head/kernel"),
        (lambda p: {**p, "extra": {"kernel": jnp.ones((2, 2))}}, "extra/kernel"),
        (lambda p: {**p, "norm": {"scale": p["norm"]["scale"].astype(jnp.int32)}}, "int32"),
        (lambda p: {**models.unroll(p), "layers": models.unroll(p)["layers"][:2]}, "layers/"),
    ],
)
def test_parameters_that_do_not_fit_the_config_are_not_written(params, tmp_path, change, named):
    with pytest.raises(models.CheckpointError, match=named):
        models.save_pretrained(tmp_path / "new", CONFIG, change(params))
    assert not (tmp_path / "new").exists()


def test_mesh_places_what_is_loaded(params, tmp_path):
    models.save_pretrained(tmp_path, CONFIG, params)
    mesh = make_mesh("data=2,fsdp=2,model=2")
    loaded = models.from_pretrained(tmp_path, mesh=mesh).params
    kernel = loaded["layers"]["mlp"]["up_proj"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape) == (3, 16, 24)
    assert_equal(loaded, params)


def test_fill_makes_what_the_checkpoint_lacks(params, tmp_path):
    models.save_pretrained(tmp_path, CONFIG, params)
    path = tmp_path / "model.safetensors"
    path.unlink()
    asked = {}

    def fill(name, shape):
        asked[name] = shape
        return np.full(shape, len(asked), np.float32)

    loaded = models.from_pretrained(tmp_path, fill=fill)
    assert asked["model.layers.2.mlp.down_proj.weight"] == (32, 48)
    assert len(asked) == 2 + 1 + 3 * 9
    assert jax.tree.map(jnp.shape, loaded.params) == jax.tree.map(jnp.shape, params)


def test_hub_name_is_fetched_without_code_or_pickles(params, tmp_path, monkeypatch):
    models.save_pretrained(tmp_path, CONFIG, params)
    calls = []
    twice = ("consolidated.safetensors", "original/consolidated.00.safetensors", "original/params.json")

    def snapshot_download(name, allow_patterns, ignore_patterns):
        calls.append((name, allow_patterns))
        assert all(any(fnmatch.fnmatch(f, p) for p in ignore_patterns) for f in twice)
        assert not any(fnmatch.fnmatch("model-00001-of-00002.safetensors", p) for p in ignore_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert_equal(models.from_pretrained("owner/model").params, params)
    ((name, patterns),) = calls
    assert name == "owner/model"
    allowed = [p for p in ("a.safetensors", "a.json", "a.bin", "a.py") if any(fnmatch.fnmatch(p, q) for q in patterns)]
    assert allowed == ["a.safetensors", "a.json"]


def test_tokenizer_travels_with_the_checkpoint(params, tmp_path):
    words = {"<s>": 0, "the": 1, "cat": 2, "sat": 3}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<s>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<s>")
    models.save_pretrained(tmp_path, CONFIG, params, tokenizer)
    loaded = models.from_pretrained(tmp_path).tokenizer
    assert loaded("the cat sat")["input_ids"] == [1, 2, 3]
    assert loaded.eos_token == "<s>"


def test_stop_tokens_are_those_of_the_generation_config(params, tmp_path):
    models.save_pretrained(tmp_path, CONFIG, params)
    loaded = models.from_pretrained(tmp_path)
    assert loaded.tokenizer is None
    assert loaded.config == CONFIG
    assert transformers.GenerationConfig.from_pretrained(tmp_path).eos_token_id == [2, 5]
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 5, 9]}')
    assert models.from_pretrained(tmp_path).config.eos_token_ids == (2, 5, 9)


def test_the_whole_model_is_never_held_twice(tmp_path):
    config = models.Config("llama", 64, 128, 256, 12, 4, 4, 32, 128)
    params = models.init(jax.random.key(0), config)
    total = sum(x.nbytes for x in jax.tree.leaves(params))
    models.save_pretrained(tmp_path, config, params, max_shard_bytes=total // 4)
    jax.block_until_ready(models.from_pretrained(tmp_path).params)
    tracemalloc.start()
    loaded = models.from_pretrained(tmp_path).params
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_equal(loaded, params)
    assert peak < 1.3 * total
