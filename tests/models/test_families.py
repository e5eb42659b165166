"""`config.json` to Config and back: both spellings of transformers, the defaults, and what is refused."""

import dataclasses

import pytest
import transformers

from seal_jax import models
from seal_jax.models.families import FAMILIES, config_from_hf, config_to_hf

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
MISTRAL = {**LLAMA, "model_type": "mistral", "architectures": ["MistralForCausalLM"]}
QWEN2 = {**LLAMA, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
QWEN3 = {**LLAMA, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"rope_theta": 5e5}, {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
        (
            {"rope_theta": 5e5, "rope_scaling": LLAMA3},
            {"rope_scaling": None, "rope_parameters": {**LLAMA3, "rope_theta": 5e5}},
        ),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 10000}},
        ),
        ({"num_key_value_heads": None, "head_dim": None, "rope_scaling": None}, {"num_key_value_heads": 4}),
        ({"eos_token_id": [7]}, {"eos_token_id": 7}),
    ],
)
def test_spellings_of_transformers_4_and_5_mean_the_same(old, new):
    assert config_from_hf({**LLAMA, **old}) == config_from_hf({**LLAMA, **new})


@pytest.mark.parametrize("values", [LLAMA, MISTRAL, QWEN2, QWEN3], ids=lambda v: v["model_type"])
def test_absent_fields_mean_what_transformers_takes_them_for(values):
    kind = FAMILIES[values["model_type"]].architecture.removesuffix("ForCausalLM")
    theirs = getattr(transformers, f"{kind}Config")(**values)
    ours = config_from_hf(values)
    assert ours.norm_eps == theirs.rms_norm_eps
    assert ours.tie_embeddings == theirs.tie_word_embeddings
    assert ours.head_dim == (theirs.head_dim if hasattr(theirs, "head_dim") else 8)
    assert ours.windows == ((theirs.sliding_window,) * 2 if kind == "Mistral" else (None, None))
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]


@pytest.mark.parametrize("first", [0, 1, 2, 28])
def test_windows_without_layer_types_start_at_max_window_layers(first):
    values = {**QWEN2, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": first}
    theirs = transformers.Qwen2Config(**values)
    wanted = tuple(5 if kind == "sliding_attention" else None for kind in theirs.layer_types)
    assert config_from_hf(values).windows == wanted


CONFIGS = [
    config_from_hf({**LLAMA, "rope_scaling": LLAMA3, "rope_theta": 5e5, "eos_token_id": [2, 3], "pad_token_id": 0}),
    config_from_hf({**LLAMA, "attention_bias": True, "mlp_bias": True, "head_dim": 6, "hidden_act": "relu"}),
    config_from_hf({**MISTRAL, "sliding_window": 5, "tie_word_embeddings": True, "rms_norm_eps": 1e-5}),
    config_from_hf({**QWEN2, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    config_from_hf({**QWEN3, "rope_scaling": {"rope_type": "linear", "factor": 2.0}, "bos_token_id": 1}),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.model_type)
def test_written_config_reads_back(config):
    assert config_from_hf(config_to_hf(config)) == config


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"qk_norm": True}, "qk_norm"),
        ({"qkv_bias": True}, "output_bias"),  # llama has one switch for both
        ({"sliding_windows": (4, 4)}, "sliding_windows"),
        ({"model_type": "gpt2"}, "gpt2"),
        ({"activation": "tanh"}, "hidden_act"),
    ],
)
def test_config_that_the_family_cannot_express_is_refused(change, field):
    with pytest.raises(models.CheckpointError, match=field):
        config_to_hf(dataclasses.replace(config_from_hf(LLAMA), **change))


REFUSED = [
    # family, change of its config.json, and what the error must name
    (LLAMA, {"model_type": "gpt_bigcode"}, ["model_type", "gpt_bigcode", "llama", "qwen3"]),
    (LLAMA, {"model_type": None}, ["model_type"]),
    (LLAMA, {"architectures": ["LlamaForSequenceClassification"]}, ["architectures", "LlamaForCausalLM"]),
    (LLAMA, {"hidden_act": "swiglu"}, ["hidden_act", "swiglu", "silu"]),
    (LLAMA, {"hidden_size": None}, ["hidden_size", "positive integer"]),
    (LLAMA, {"hidden_size": "32"}, ["hidden_size", "'32'", "positive integer"]),
    (LLAMA, {"hidden_size": 30}, ["hidden_size", "num_attention_heads=4"]),
    (LLAMA, {"num_hidden_layers": 0}, ["num_hidden_layers", "positive integer"]),
    (LLAMA, {"num_hidden_layers": True}, ["num_hidden_layers", "positive integer"]),
    (LLAMA, {"num_key_value_heads": 3}, ["num_kv_heads=3", "num_heads=4"]),
    (LLAMA, {"head_dim": 7}, ["head_dim=7"]),
    (LLAMA, {"rms_norm_eps": -1e-6}, ["rms_norm_eps", "positive number"]),
    (LLAMA, {"rms_norm_eps": float("nan")}, ["rms_norm_eps", "positive number"]),
    (LLAMA, {"tie_word_embeddings": "yes"}, ["tie_word_embeddings", "true or false"]),
    (LLAMA, {"eos_token_id": "</s>"}, ["eos_token_id", "token id"]),
    (LLAMA, {"quantization_config": {"bits": 4}}, ["quantization_config", "absent"]),
    (LLAMA, {"num_local_experts": 8}, ["num_local_experts", "absent"]),
    (LLAMA, {"partial_rotary_factor": 0.5}, ["partial_rotary_factor", "1.0"]),
    (LLAMA, {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, ["rope_scaling", "yarn", "linear", "llama3"]),
    (LLAMA, {"rope_parameters": {"rope_type": "longrope"}}, ["rope_parameters", "longrope"]),
    (LLAMA, {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, ["full_attention"]),
    (LLAMA, {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, ["rope_scaling", "low_freq_factor"]),
    (LLAMA, {"rope_scaling": {"rope_type": "linear"}}, ["rope_scaling", "factor"]),
    (LLAMA, {"rope_scaling": "linear"}, ["rope_scaling", "an object"]),
    (LLAMA, {"rope_theta": 0}, ["rope_theta", "positive number"]),
    (MISTRAL, {"sliding_window": 0}, ["sliding_window", "positive integer"]),
    (MISTRAL, {"attention_bias": True}, ["attention_bias", "False"]),
    (QWEN2, {"attention_bias": False}, ["attention_bias", "True"]),
    (QWEN2, {"use_sliding_window": True, "layer_types": ["full_attention"]}, ["layer_types", "2 entries"]),
    (QWEN2, {"use_sliding_window": True, "layer_types": ["full_attention", "linear"]}, ["layer_types", "sliding"]),
    (QWEN2, {"use_sliding_window": True, "max_window_layers": "all"}, ["max_window_layers"]),
    (QWEN3, {"num_experts": 128}, ["num_experts"]),
]


@pytest.mark.parametrize(("base", "change", "named"), REFUSED, ids=lambda v: "-".join(v) if isinstance(v, dict) else "")
def test_unsupported_value_is_named(base, change, named):
    with pytest.raises(models.CheckpointError) as caught:
        config_from_hf({**base, **change}, "some/config.json")
    for word in ["some/config.json", *named]:
        assert word in str(caught.value)
