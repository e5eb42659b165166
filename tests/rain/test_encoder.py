"""The sentence encoder against transformers' BertModel, and the directories it refuses."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from seal_jax import models
from seal_jax.rain import encoder

SIZES = {
    "vocab_size": 90,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
    "layer_norm_eps": 1e-7,
}


def drawn(kind, **settings):
    """A random model, biases and norms drawn too."""
    torch.manual_seed(0)
    model = kind(transformers.BertConfig(**SIZES, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def bert():
    return drawn(transformers.BertModel)


@pytest.fixture(scope="module")
def folder(bert, tmp_path_factory):
    """The model with the files of sentence-transformers."""
    path = tmp_path_factory.mktemp("bert")
    bert.save_pretrained(path)
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return path


@pytest.fixture(scope="module")
def given():
    lengths = np.array([13, 7, 1, 0])
    ids = np.random.default_rng(0).integers(0, 90, (4, 13)).astype(np.int32)
    return ids, np.arange(13)[None] < lengths[:, None]


encode = jax.jit(lambda e, ids, mask: e(ids, mask))


def test_hidden_states_and_sentence_vectors_are_berts(bert, folder, given):
    ids, mask = given
    ours = encoder.load_encoder(folder)
    with torch.no_grad():
        theirs = bert(torch.tensor(ids), torch.tensor(mask, dtype=torch.long)).last_hidden_state.numpy()
    states = np.asarray(jax.jit(encoder.hidden_states)(ours, ids, mask))
    assert theirs.std() > 0.5
    np.testing.assert_allclose(states[mask], theirs[mask], atol=1e-5)
    mean = np.stack([row[m].mean(axis=0) for row, m in zip(theirs[:3], mask)])
    expected = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    got = np.asarray(encode(ours, ids, mask))
    np.testing.assert_allclose(got[:3], expected, atol=1e-5)
    np.testing.assert_array_equal(got[3], 0)
    assert ours.config.max_length == 32


def test_bfloat16_is_near(folder, given):
    ids, mask = given
    exact = encode(encoder.load_encoder(folder), ids, mask)
    half = encoder.load_encoder(folder, "bfloat16")
    assert {x.dtype for x in jax.tree.leaves(half)} == {jnp.dtype("bfloat16")}
    got = encode(half, ids, mask)
    assert got.dtype == jnp.float32
    assert 0 < np.abs(got - exact).max() < 0.03


def test_a_model_with_a_head_and_other_activation(tmp_path, given):
    ids, mask = given
    model = drawn(transformers.BertForMaskedLM, hidden_act="relu")
    model.save_pretrained(tmp_path)
    ours = encoder.load_encoder(tmp_path)
    with torch.no_grad():
        theirs = model.bert(torch.tensor(ids), torch.tensor(mask, dtype=torch.long)).last_hidden_state.numpy()
    np.testing.assert_allclose(
        np.asarray(jax.jit(encoder.hidden_states)(ours, ids, mask))[mask], theirs[mask], atol=1e-5
    )
    assert ours.config.max_length == 40


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("config.json", {"model_type": "roberta"}, "model_type is 'roberta'"),
        ("config.json", {"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ("config.json", {"is_decoder": True}, "is_decoder is True"),
        ("config.json", {"hidden_act": "sine"}, "hidden_act 'sine' is none of"),
        ("config.json", {"num_attention_heads": 5}, "num_attention_heads does not divide"),
        ("config.json", {"vocab_size": None}, "'vocab_size' is missing"),
        ("config.json", {"intermediate_size": 41}, r"has shape \(40, 24\); the config asks for \(41, 24\)"),
        ("config.json", {"num_hidden_layers": 4}, "no tensor 'encoder.layer.3"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}, "pooling_mode_mean_tokens is False"),
    ],
)
def test_what_is_no_sentence_encoder_is_named(folder, tmp_path, file, change, named):
    copied = shutil.copytree(folder, tmp_path / "copy")
    values = json.loads((copied / file).read_text()) | change
    (copied / file).write_text(json.dumps(values))
    with pytest.raises(models.CheckpointError, match=named):
        encoder.load_encoder(copied)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(models.CheckpointError, match="no such file"):
        encoder.load_encoder(tmp_path)
