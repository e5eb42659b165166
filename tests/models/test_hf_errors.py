"""Every bad checkpoint is one clear error that names the file, tensor or field, and what would be accepted."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from seal_jax import models

CONFIG = models.Config("llama", 64, 16, 24, 2, 2, 1, 8, 32)
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
Q_PROJ, EMBED, HEAD = "model.layers.1.self_attn.q_proj.weight", "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(scope="module")
def params():
    return models.init(jax.random.key(0), CONFIG)


@pytest.fixture
def folder(params, tmp_path):
    """A good checkpoint in one file, to be damaged."""
    models.save_pretrained(tmp_path, CONFIG, params)
    return tmp_path


@pytest.fixture
def sharded(params, tmp_path):
    """A good checkpoint in several files, to be damaged."""
    models.save_pretrained(tmp_path, CONFIG, params, max_shard_bytes=8_000)
    return tmp_path


def change_tensors(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def change_json(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def error_of(folder, **options):
    with pytest.raises(models.CheckpointError) as caught:
        models.from_pretrained(folder, **options)
    return str(caught.value)


def assert_names(message, *words):
    for word in words:
        assert str(word) in message


def filled(shape, value):
    tensor = np.zeros(shape, np.float32)
    tensor.flat[-1] = value
    return tensor


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop(Q_PROJ), [Q_PROJ, "missing", "llama"]),
        (lambda t: [t.pop(name) for name in list(t)[:9]], ["and 6 more"]),
        (lambda t: t.update(extra=np.ones(3, np.float32)), [WEIGHTS, "'extra'", "not part of a llama"]),
        (lambda t: t.update({Q_PROJ: t[Q_PROJ][:-1].copy()}), [WEIGHTS, Q_PROJ, "(15, 16)", "(16, 16)"]),
        (lambda t: t.update({Q_PROJ: t[Q_PROJ][None]}), [WEIGHTS, Q_PROJ, "(1, 16, 16)"]),
        (lambda t: t.update({Q_PROJ: filled((16, 16), np.nan)}), [WEIGHTS, Q_PROJ, "NaN or inf", "finite"]),
        (lambda t: t.update({EMBED: filled((64, 16), -np.inf)}), [WEIGHTS, EMBED, "NaN or inf"]),
        (lambda t: t.update({Q_PROJ: np.ones((16, 16), np.int8)}), [WEIGHTS, Q_PROJ, "I8", "BF16"]),
        (lambda t: t.update({Q_PROJ: np.ones((16, 16), ml_dtypes.float8_e4m3fn)}), [Q_PROJ, "F8_E4M3", "F32"]),
    ],
    ids=["missing", "many", "extra", "shape", "rank", "nan", "inf", "int8", "float8"],
)
def test_bad_tensor(folder, change, named):
    change_tensors(folder, change)
    assert_names(error_of(folder), folder, *named)


def test_value_that_overflows_the_dtype_asked_for(folder):
    change_tensors(folder, lambda t: t.update({Q_PROJ: filled((16, 16), 1e6)}))
    models.from_pretrained(folder)
    assert_names(error_of(folder, dtype="float16"), Q_PROJ, "float16")


def test_dtype_that_is_no_parameter_dtype(folder):
    for dtype in ("int8", "float99"):
        assert_names(error_of(folder, dtype=dtype), dtype, "bfloat16")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_file(folder, keep):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:keep])
    assert_names(error_of(folder), folder / WEIGHTS, "not a complete safetensors file")


def test_file_that_is_something_else(folder):
    (folder / WEIGHTS).write_bytes(b"<html>404</html>" * 100)
    assert_names(error_of(folder), folder / WEIGHTS, "not a complete safetensors file")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", None])
def test_no_safetensors(folder, name):
    (folder / WEIGHTS).unlink()
    if name:
        (folder / name).write_bytes(b"pickle")
    assert_names(error_of(folder), folder, WEIGHTS, INDEX, *([name, "convert to safetensors"] if name else []))


@pytest.mark.parametrize("target", ["../outside.safetensors", "/etc/passwd", "sub/x.safetensors", "model.bin", 3, None])
def test_index_that_points_elsewhere(sharded, target):
    (sharded.parent / "outside.safetensors").write_bytes((sharded / "model-00001-of-00004.safetensors").read_bytes())
    change_json(sharded / INDEX, lambda v: v["weight_map"].update({Q_PROJ: target}))
    assert_names(error_of(sharded), sharded / INDEX, Q_PROJ, repr(target), "beside it")


def test_index_of_a_file_that_is_not_there(sharded):
    lost = sorted(sharded.glob("model-*"))[1]
    lost.unlink()
    assert_names(error_of(sharded), lost)


def test_shards_without_an_index(sharded):
    (sharded / INDEX).unlink()
    assert_names(error_of(sharded), sharded, "model-00001-of-00004.safetensors", "without the index")


@pytest.mark.parametrize("weight_map", [None, {}, [], "model.safetensors"])
def test_index_without_a_map(sharded, weight_map):
    change_json(sharded / INDEX, lambda v: v.update(weight_map=weight_map))
    assert_names(error_of(sharded), sharded / INDEX, "weight_map")


def test_tensor_in_two_shards(sharded):
    first, second = sorted(sharded.glob("model-*"))[:2]
    tensors = load_file(second)
    repeated = next(iter(load_file(first)))
    save_file({**tensors, repeated: load_file(first)[repeated]}, second)
    assert_names(error_of(sharded), repeated, first, second)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "no such file"),
        (b"", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"[]", "expected a JSON object"),
        (b'{"model_type": "\xff"}', "not a JSON object in UTF-8"),
        (b'{"model_type": "gpt_bigcode"}', "'llama'"),
        (b"[" * 100_000, "not a JSON object"),
    ],
    ids=["absent", "empty", "cut", "list", "not-utf8", "unknown", "deep"],
)
def test_bad_config(folder, content, named):
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_bytes(content)
    assert_names(error_of(folder), folder / "config.json", named)


def test_config_of_another_size_than_the_weights(folder):
    change_json(folder / "config.json", lambda v: v.update(vocab_size=10**12))
    assert_names(error_of(folder), EMBED, "(64, 16)", f"({10**12}, 16)")


def test_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")
    assert_names(error_of(folder), folder, "tokenizer")


@pytest.mark.parametrize(
    "path", ["no_such_folder/deep/er", "/no/such/folder", "./nowhere", "owner/no-such-model", "name", "a b"]
)
def test_path_that_is_not_there(path):
    assert_names(error_of(path), path, "hub name")


def test_file_in_place_of_a_directory(folder):
    assert_names(error_of(folder / WEIGHTS), folder / WEIGHTS, "not a directory")


def test_recomputed_buffers_are_ignored(folder, params):
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    change_tensors(folder, lambda t: t.update({name: np.ones(4, np.float32)}))
    jax.tree.map(np.testing.assert_array_equal, models.from_pretrained(folder).params, params)


def test_a_second_copy_of_tied_embeddings_is_ignored_if_it_is_one(folder):
    change_json(folder / "config.json", lambda v: v.update(tie_word_embeddings=True))
    assert_names(error_of(folder), HEAD, EMBED, "tie_word_embeddings")
    change_tensors(folder, lambda t: t.update({HEAD: t[EMBED].copy()}))
    assert "lm_head" not in models.from_pretrained(folder).params
    change_tensors(folder, lambda t: t.pop(HEAD))
    assert "lm_head" not in models.from_pretrained(folder).params
    change_tensors(folder, lambda t: t.update({HEAD: t[EMBED][1:].copy()}))
    assert_names(error_of(folder), HEAD, "(63, 16)")
