"""Every model family against transformers: logits with padding on either side, and checkpoints in both directions.

A family is one row of FAMILIES. Biases and norms are drawn at random too, for as they are initialised they would hide
a missing one.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from seal_jax import models

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
# Name: the transformers class, its settings, and the fields of our Config that make the family what it is.
FAMILIES = {
    "llama2": ("Llama", {"num_key_value_heads": 4}, {"num_kv_heads": 4, "tie_embeddings": False}),
    "llama_biases": (
        "Llama",
        {"num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True, "head_dim": 12},
        {"qkv_bias": True, "output_bias": True, "mlp_bias": True, "head_dim": 12},
    ),
    "llama3": (
        "Llama",
        {"num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
        {"num_kv_heads": 2, "rope_theta": 500000.0},
    ),
    "llama3.2": (
        "Llama",
        {"num_key_value_heads": 2, "rope_parameters": LLAMA3_ROPE, "tie_word_embeddings": True},
        {"tie_embeddings": True, "rope_scaling": models.RopeScaling("llama3", 8.0, 1.0, 4.0, 16)},
    ),
    "llama_linear_rope": (
        "Llama",
        {"num_key_value_heads": 2, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
        {"rope_scaling": models.RopeScaling("linear", 4.0)},
    ),
    "mistral": (
        "Mistral",
        {"num_key_value_heads": 2, "sliding_window": 4, "head_dim": 8},
        {"sliding_windows": (4, 4, 4), "qkv_bias": False},
    ),
    "mistral_full": (
        "Mistral",
        {"num_key_value_heads": 2, "sliding_window": None, "head_dim": 16, "hidden_act": "gelu"},
        {"sliding_windows": None, "head_dim": 16, "activation": "gelu"},
    ),
    "qwen2": (
        "Qwen2",
        {"num_key_value_heads": 2, "tie_word_embeddings": True},
        {"qkv_bias": True, "output_bias": False, "sliding_windows": None},
    ),
    "qwen2_mixed_windows": (
        "Qwen2",
        {"num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
        {"qkv_bias": True, "sliding_windows": (None, 3, 3)},
    ),
    "qwen3": (
        "Qwen3",
        {"num_key_value_heads": 2, "head_dim": 12},
        {"qk_norm": True, "head_dim": 12, "qkv_bias": False},
    ),
    "qwen3_mixed_windows": (
        "Qwen3",
        {
            "num_key_value_heads": 1,
            "head_dim": 8,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        {"qk_norm": True, "qkv_bias": True, "output_bias": True, "sliding_windows": (3, None, 3)},
    ),
}
forward = jax.jit(models.forward, static_argnums=1)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """The transformers model, the directory it was saved to, our model loaded from there, and what it should be."""
    kind, settings, expected = FAMILIES[request.param]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **settings}, attn_implementation="eager")
    theirs = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            if p.ndim == 1:
                p += 0.3 * torch.randn_like(p)
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder)
    return theirs, folder, models.from_pretrained(folder), expected


@pytest.fixture(scope="module")
def saved(family, tmp_path_factory):
    """The directory that our loaded model was saved to."""
    folder = tmp_path_factory.mktemp("ours")
    models.save_pretrained(folder, family[2].config, family[2].params)
    return folder


@pytest.fixture(scope="module")
def batch():
    """Three rows of 11 tokens: padded on the left, padded on the right, not padded."""
    tokens = np.random.default_rng(0).integers(3, SIZES["vocab_size"], (3, 11), np.int32)
    mask = np.ones((3, 11), bool)
    mask[0, :4] = mask[1, 8:] = False
    return tokens, mask


def their_logits(model, tokens, mask):
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    with torch.no_grad():
        return model(
            input_ids=torch.tensor(tokens, dtype=torch.long),
            attention_mask=torch.tensor(mask, dtype=torch.long),
            position_ids=torch.tensor(positions, dtype=torch.long),
        ).logits.numpy()


def test_config_says_what_the_family_is(family):
    _, _, ours, expected = family
    assert {name: getattr(ours.config, name) for name in expected} == expected


def test_logits_equal_with_padding_on_either_side(family, batch):
    theirs, _, ours, _ = family
    tokens, mask = batch
    wanted = their_logits(theirs, tokens, mask)[mask]
    got = np.asarray(forward(ours.params, ours.config, jnp.asarray(tokens), jnp.asarray(mask)))[mask]
    assert wanted.std() > 0.3  # else a tolerance of 1e-4 would show nothing
    np.testing.assert_allclose(got, wanted, atol=1e-4, rtol=0)


def test_transformers_loads_what_we_save_with_the_same_logits(family, batch, saved):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(saved, attn_implementation="eager").eval()
    assert type(theirs) is type(family[0])
    np.testing.assert_array_equal(their_logits(theirs, *batch)[batch[1]], their_logits(family[0], *batch)[batch[1]])


def test_round_trip_is_exact(family, saved):
    _, folder, ours, _ = family
    before, after = (load_file(path / "model.safetensors") for path in (folder, saved))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        np.testing.assert_array_equal(tensor, after[name], err_msg=name)
    again = models.from_pretrained(saved)
    assert again.config == ours.config
    jax.tree.map(np.testing.assert_array_equal, again.params, ours.params)


def test_bfloat16_checkpoint_is_read_and_written_bit_for_bit(family, tmp_path):
    theirs, _, _, _ = family
    half = {name: p.detach().to(torch.bfloat16) for name, p in theirs.state_dict().items()}
    theirs.save_pretrained(tmp_path / "theirs", state_dict=half)
    ours = models.from_pretrained(tmp_path / "theirs", dtype="bfloat16")
    models.save_pretrained(tmp_path / "ours", ours.config, ours.params)
    before, after = (load_file(tmp_path / side / "model.safetensors") for side in ("theirs", "ours"))
    assert {str(t.dtype) for t in after.values()} == {"bfloat16"}
    for name, tensor in after.items():
        np.testing.assert_array_equal(tensor.view(np.uint16), before[name].view(np.uint16), err_msg=name)
