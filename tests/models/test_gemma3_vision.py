"""Gemma 3 with a vision tower, as its larger sizes are published: the decoder is read and written as a text model."""

import json

import jax
import numpy as np
import pytest
import torch
import transformers
from family_rows import SIZES, batch, our_logits, their_logits, their_model
from safetensors.numpy import load_file, save_file

from seal_jax import models
from seal_jax.models.families import config_from_hf
from seal_jax.models.layout import leaves

TEXT = {
    **{name: SIZES[name] for name in ("vocab_size", "intermediate_size", "max_position_embeddings")},
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "sliding_window": 4,
    "sliding_window_pattern": 2,
    "query_pre_attn_scalar": 6,
    "initializer_range": 0.3,
}
VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}


@pytest.fixture(scope="module")
def theirs():
    config = transformers.Gemma3Config(text_config=TEXT, vision_config=VISION, mm_tokens_per_image=4)
    return their_model(config)


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gemma3")
    theirs.save_pretrained(folder)
    return folder


def respelled(folder, target, rename):
    """The same checkpoint with other tensor names, as another version of transformers writes it."""
    (target / "config.json").write_text((folder / "config.json").read_text())
    save_file({rename(n): t for n, t in load_file(folder / "model.safetensors").items()}, target / "model.safetensors")
    return target


def test_logits_are_those_of_the_whole_model_on_text(theirs, folder):
    ours = models.from_pretrained(folder)
    assert type(theirs).__name__ == "Gemma3ForConditionalGeneration"
    assert ours.config.model_type == "gemma3"
    tokens, mask = batch()
    wanted = their_logits(theirs, tokens, mask)[mask]
    assert wanted.std() > 0.3
    np.testing.assert_allclose(our_logits(ours, tokens, mask)[mask], wanted, atol=1e-4, rtol=0)


def test_both_spellings_of_the_tensors_are_read(folder, tmp_path):
    names = set(load_file(folder / "model.safetensors"))
    assert "language_model.model.norm.weight" in names
    assert any(name.startswith("vision_tower.") for name in names)
    live = lambda n: f"model.{n.replace('language_model.model.', 'language_model.')}"  # noqa: E731
    other = models.from_pretrained(respelled(folder, tmp_path, live))
    jax.tree.map(np.testing.assert_array_equal, other.params, models.from_pretrained(folder).params)


def test_it_is_written_as_the_text_model_with_the_same_logits(theirs, folder, tmp_path):
    ours = models.from_pretrained(folder)
    models.save_pretrained(tmp_path, ours.config, ours.params)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert type(again).__name__ == "Gemma3ForCausalLM"
    tokens, mask = batch()
    np.testing.assert_array_equal(their_logits(again, tokens, mask)[mask], their_logits(theirs, tokens, mask)[mask])
    text = models.from_pretrained(tmp_path)
    assert text.config.model_type == "gemma3_text"
    jax.tree.map(np.testing.assert_array_equal, text.params, ours.params)


def test_adapters_name_the_modules_of_the_whole_model(theirs, folder):
    kernels = [leaf for leaf in leaves(models.from_pretrained(folder).config) if leaf.transposed]
    live = {name for name, module in theirs.named_modules() if isinstance(module, torch.nn.Linear)}
    assert {module for leaf in kernels for module in leaf.modules} <= live


def test_text_settings_that_are_left_out_are_the_defaults_of_transformers():
    """The 4B model's file, as published, names five settings of its decoder."""
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    values = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "eos_token_id": [1, 106],
        "image_token_index": 262144,
        "text_config": text,
        "vision_config": VISION,
    }
    ours = config_from_hf(values)
    full = transformers.Gemma3Config(**json.loads(json.dumps(values))).text_config.to_dict()
    full |= {"architectures": None, "eos_token_id": [1, 106]}
    expected = config_from_hf(full)
    assert (ours.num_layers, ours.vocab_size, ours.eos_token_ids) == (34, 262208, (1, 106))
    assert ours.windows[:6] == (1024,) * 5 + (None,)
    assert {**vars(ours), "model_type": ""} == {**vars(expected), "model_type": ""}


def test_quantized_or_foreign_decoder_is_refused_by_name():
    values = {"model_type": "gemma3", "text_config": {"model_type": "llama"}}
    with pytest.raises(models.CheckpointError, match=r"text_config.*model_type='llama'.*gemma3_text"):
        config_from_hf(values)
    with pytest.raises(models.CheckpointError, match="quantization_config"):
        config_from_hf({"model_type": "gemma3", "text_config": {}, "quantization_config": {"bits": 4}})
