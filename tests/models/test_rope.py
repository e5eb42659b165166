"""Rotary scalings: frequencies and factors against transformers, and what depends on the length of the sequence."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from seal_jax import generation, models
from seal_jax.models import rope
from seal_jax.models.families import config_from_hf

SIZES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
SHORT, LONG = ([round(x, 2) for x in np.linspace(1, top, 8).tolist()] for top in (2.0, 9.0))
KINDS = {
    "linear": {"factor": 3.0},
    "dynamic": {"factor": 3.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
    "yarn_mscale": {"factor": 40.0, "mscale": 0.7, "mscale_all_dim": 0.9, "original_max_position_embeddings": 16},
    "yarn_one_mscale": {"factor": 40.0, "mscale": 0.7, "original_max_position_embeddings": 16},
    "yarn_options": {"factor": 4.0, "attention_factor": 0.9, "beta_fast": 4, "beta_slow": 2, "truncate": False},
    "yarn_no_factor": {"factor": None, "original_max_position_embeddings": 16},
    "longrope": {"short_factor": SHORT, "long_factor": LONG, "original_max_position_embeddings": 16},
    "longrope_factors": {"short_factor": SHORT, "long_factor": LONG, "factor": 2.0, "attention_factor": 1.1},
    "proportional": {"partial_rotary_factor": 0.3, "factor": 2.0},
}


def settings(name):
    return {"rope_type": name.split("_")[0], "rope_theta": 5000.0, **KINDS[name]}


@pytest.mark.parametrize("length", [8, 16, 17, 64, 65, 150])
@pytest.mark.parametrize("name", KINDS)
def test_frequencies_and_factors_are_those_of_transformers(name, length):
    theirs = transformers.LlamaConfig(**SIZES, rope_parameters=settings(name))
    wanted, factor = ROPE_INIT_FUNCTIONS[theirs.rope_parameters["rope_type"]](theirs, seq_len=length)
    ours = config_from_hf({**SIZES, "model_type": "llama", "rope_parameters": settings(name)})
    np.testing.assert_allclose(rope.inverse_frequencies(ours, length), wanted.numpy(), rtol=2e-6)
    assert rope.attention_factor(ours.rope_scaling) == pytest.approx(factor, rel=1e-12)


def test_scaled_angles_carry_the_attention_factor():
    ours = config_from_hf({**SIZES, "model_type": "llama", "rope_parameters": settings("yarn_mscale")})
    cos, sin = rope.rotation(ours, jnp.arange(5)[None])
    np.testing.assert_allclose(cos**2 + sin**2, rope.attention_factor(ours.rope_scaling) ** 2, rtol=1e-5)


def test_only_the_first_channels_turn():
    config = models.Config("gpt_neox", 64, 32, 48, 1, 4, 4, 8, 64, rotary_dim=3)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 2, 8)), jnp.float32)
    cos, sin = rope.rotation(config, jnp.arange(5)[None])
    assert cos.shape == (1, 5, 1, 2)
    turned = rope.rotate(x, cos, sin)
    np.testing.assert_array_equal(turned[..., 4:], x[..., 4:])
    first, second = x[..., :2] * cos - x[..., 2:4] * sin, x[..., 2:4] * cos + x[..., :2] * sin
    np.testing.assert_allclose(turned[..., :4], jnp.concatenate([first, second], axis=-1), atol=1e-6)


@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_generation_across_the_original_context_is_that_of_transformers(name, tmp_path):
    """The prompt ends before it and the answer beyond: keys in the cache stay as they were turned, in both."""
    torch.manual_seed(0)
    sizes = {**SIZES, "max_position_embeddings": 14 if name == "dynamic" else 64, "initializer_range": 0.3}
    scaling = {**settings(name), "rope_theta": 100.0}
    scaling |= {"original_max_position_embeddings": 14} if name == "longrope" else {"factor": 6.0}
    config = transformers.LlamaConfig(**sizes, rope_parameters=scaling, bos_token_id=1, eos_token_id=2)
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = models.from_pretrained(tmp_path)
    prompts = np.random.default_rng(1).integers(3, 96, (2, 10)).tolist()
    with torch.no_grad():
        out = theirs.generate(
            input_ids=torch.tensor(prompts),
            attention_mask=torch.ones(2, 10, dtype=torch.long),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    got = generation.generate(ours.params, ours.config, prompts, None, max_new_tokens=16, eos=())
    assert got.tokens == out[:, 10:].tolist()


@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_a_row_does_not_depend_on_longer_rows_beside_it(name):
    scaling = settings(name) | ({"original_max_position_embeddings": 14} if name == "longrope" else {"factor": 6.0})
    sizes = {**SIZES, "max_position_embeddings": 14 if name == "dynamic" else 64}
    config = config_from_hf({**sizes, "model_type": "llama", "rope_parameters": scaling})
    short, long = jnp.arange(6), jnp.arange(30)
    both = jnp.stack([jnp.pad(short, (0, 24), mode="edge"), long])
    beside, alone, longer = (rope.rotation(config, positions) for positions in (both, short[None], long[None]))
    for together, by_itself, other in zip(beside, alone, longer):
        np.testing.assert_allclose(together[0, :6], by_itself[0], atol=1e-6)
        np.testing.assert_allclose(together[1], other[0], atol=1e-6)
        assert np.abs(other[0, :6] - by_itself[0]).max() > 1e-3
