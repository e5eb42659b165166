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
NEOX = {
    **{name: value for name, value in LLAMA.items() if name != "num_key_value_heads"},
    "model_type": "gpt_neox",
    "architectures": ["GPTNeoXForCausalLM"],
}
NEO = {
    "model_type": "gpt_neo",
    "architectures": ["GPTNeoForCausalLM"],
    "vocab_size": 96,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
}
GEMMA = {**LLAMA, "model_type": "gemma", "architectures": ["GemmaForCausalLM"]}
GEMMA2 = {**LLAMA, "model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]}
GEMMA3 = {**LLAMA, "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "num_hidden_layers": 7}
MISTRAL = {**LLAMA, "model_type": "mistral", "architectures": ["MistralForCausalLM"]}
QWEN2 = {**LLAMA, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
QWEN3 = {**LLAMA, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
MINIMAL = [LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA, GEMMA2, GEMMA3, NEOX, NEO]
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def their_config(values):
    kind = FAMILIES[values["model_type"]].architecture.removesuffix("ForCausalLM")
    return getattr(transformers, "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config")(**values)


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
        (
            {"rope_scaling": {"type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 16},
            {
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 16,
                    "beta_fast": 32,
                    "beta_slow": None,
                }
            },
        ),
    ],
)
def test_spellings_of_transformers_4_and_5_mean_the_same(old, new):
    assert config_from_hf({**LLAMA, **old}) == config_from_hf({**LLAMA, **new})


def test_two_sets_of_rotary_settings_mean_the_same_in_transformers_4_and_5():
    linear = {"rope_type": "linear", "factor": 8.0}
    old = {"rope_theta": 5e5, "rope_local_base_freq": 1e3, "rope_scaling": linear, "sliding_window_pattern": 6}
    sets = {"full_attention": {**linear, "rope_theta": 5e5}, "sliding_attention": {"rope_theta": 1e3}}
    config = config_from_hf({**GEMMA3, **old})
    assert config == config_from_hf({**GEMMA3, "rope_parameters": sets})
    assert (config.rope_theta, config.window_rope_theta, config.window_rope_scaling) == (5e5, 1e3, None)


@pytest.mark.parametrize("values", MINIMAL, ids=lambda v: v["model_type"])
def test_absent_fields_mean_what_transformers_takes_them_for(values):
    """A file with nothing but sizes is the same model as the one transformers writes with everything spelled out."""
    theirs = their_config(values)
    special = ("bos_token_id", "eos_token_ids", "pad_token_id")  # some default to ids that a file names anyway
    plain = dict.fromkeys(special)
    ours, full = config_from_hf(values), config_from_hf(theirs.to_dict())
    assert dataclasses.replace(ours, **plain) == dataclasses.replace(full, **plain)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (LLAMA, {"num_kv_heads": 2, "qkv_bias": False, "norm": "rms", "residual": "sequential", "gated_mlp": True}),
        ({**LLAMA, "attention_bias": True}, {"qkv_bias": True, "output_bias": True, "mlp_bias": False}),
        ({**LLAMA, "rope_scaling": LLAMA3}, {"rope_scaling": models.RopeScaling("llama3", 32.0, 1.0, 4.0, 16)}),
        ({**MISTRAL, "sliding_window": 5}, {"sliding_windows": (5, 5), "qkv_bias": False}),
        ({**MISTRAL, "sliding_window": None}, {"sliding_windows": None}),
        (QWEN2, {"qkv_bias": True, "output_bias": False, "sliding_windows": None}),
        (QWEN3, {"qk_norm": True, "head_dim": 128, "qkv_bias": False}),
        (GEMMA, {"norm_offset": 1.0, "embedding_scale": 32**0.5, "head_dim": 256, "residual": "sequential"}),
        ({**GEMMA, "hidden_act": "gelu"}, {"activation": "gelu_pytorch_tanh"}),
        (
            GEMMA2,
            {
                "residual": "sandwich",
                "attention_softcap": 50.0,
                "logit_softcap": 30.0,
                "query_scalar": 256.0,
                "sliding_windows": (4096, None),
                "tie_embeddings": True,
            },
        ),
        (
            GEMMA3,
            {
                "qk_norm": True,
                "attention_softcap": None,
                "sliding_windows": (*(4096,) * 5, None, 4096),
                "rope_theta": 1e6,
                "window_rope_theta": 1e4,
            },
        ),
        (
            NEOX,
            {
                "residual": "parallel",
                "rotary_dim": 2,
                "fused_qkv": True,
                "gated_mlp": False,
                "norm": "layer",
                "norm_eps": 1e-5,
                "tie_embeddings": False,
            },
        ),
        ({**NEOX, "use_parallel_residual": False, "rotary_pct": 1.0}, {"residual": "sequential", "rotary_dim": None}),
        (
            NEO,
            {
                "learned_positions": True,
                "rotary_dim": 0,
                "query_scalar": 1.0,
                "sliding_windows": (None, 256),
                "intermediate_size": 128,
                "qkv_bias": False,
                "output_bias": True,
                "tie_embeddings": True,
            },
        ),
    ],
)
def test_config_says_what_the_family_is(values, expected):
    config = config_from_hf(values)
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize("first", [0, 1, 2, 28])
def test_windows_without_layer_types_start_at_max_window_layers(first):
    values = {**QWEN2, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": first}
    theirs = transformers.Qwen2Config(**values)
    wanted = tuple(5 if kind == "sliding_attention" else None for kind in theirs.layer_types)
    assert config_from_hf(values).windows == wanted


SCALINGS = [
    {"rope_type": "dynamic", "factor": 2.5},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 0.7, "mscale_all_dim": 0.5},
    {"rope_type": "yarn", "factor": 2.0, "attention_factor": 1.5, "beta_fast": 16, "beta_slow": 2, "truncate": False},
    {"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0, 2], "long_factor": [1, 2, 3, 4], "factor": 3.0},
    {"rope_type": "proportional", "partial_rotary_factor": 0.5},
]
CONFIGS = [
    config_from_hf({**LLAMA, "rope_scaling": LLAMA3, "rope_theta": 5e5, "eos_token_id": [2, 3], "pad_token_id": 0}),
    config_from_hf({**LLAMA, "attention_bias": True, "mlp_bias": True, "head_dim": 6, "hidden_act": "relu"}),
    config_from_hf({**MISTRAL, "sliding_window": 5, "tie_word_embeddings": True, "rms_norm_eps": 1e-5}),
    config_from_hf({**QWEN2, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    config_from_hf({**QWEN3, "rope_scaling": {"rope_type": "linear", "factor": 2.0}, "bos_token_id": 1}),
    config_from_hf({**GEMMA, "attention_bias": True}),
    config_from_hf({**GEMMA2, "attn_logit_softcapping": None, "query_pre_attn_scalar": 24}),
    config_from_hf({**GEMMA3, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    config_from_hf({**GEMMA3, "rope_parameters": {"sliding_attention": {"rope_type": "dynamic", "factor": 2.0}}}),
    config_from_hf({**NEOX, "rotary_pct": 0.3, "rotary_emb_base": 500, "use_parallel_residual": False}),
    config_from_hf({**NEO, "attention_types": [[["local"], 1], [["global"], 1]], "intermediate_size": 40}),
    *(config_from_hf({**LLAMA, "rope_scaling": scaling}) for scaling in SCALINGS),
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
        ({"activation": "xielu"}, "hidden_act"),
        ({"norm": "layer"}, "norm"),
        ({"logit_softcap": 30.0}, "logit_softcap"),
        ({"rotary_dim": 4}, "rotary_dim"),
    ],
)
def test_config_that_the_family_cannot_express_is_refused(change, field):
    with pytest.raises(models.CheckpointError, match=field):
        config_to_hf(dataclasses.replace(config_from_hf(LLAMA), **change))


LONG = SCALINGS[3]
REFUSED = [
    # family, change of its config.json, and what the error must name
    (LLAMA, {"model_type": "gpt_bigcode"}, ["model_type", "gpt_bigcode", "llama", "qwen3"]),
    (LLAMA, {"model_type": None}, ["model_type"]),
    (
        LLAMA,
        {"architectures": ["LlamaForSequenceClassification"]},
        ["LlamaForSequenceClassification", "not the checkpoint of a causal language model", "LlamaForCausalLM"],
    ),
    (LLAMA, {"architectures": ["LlamaModel"]}, ["LlamaModel has no output layer", "lack the prefix 'model.'"]),
    (NEOX, {"architectures": ["GPTNeoXModel"]}, ["take the GPTNeoXForCausalLM that", "lack the prefix 'gpt_neox.'"]),
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
    (LLAMA, {"eos_token_id": -1}, ["eos_token_id=-1", "0 or more"]),
    (LLAMA, {"eos_token_id": [2, -1]}, ["eos_token_id=[2, -1]", "0 or more"]),
    (LLAMA, {"bos_token_id": -1}, ["bos_token_id=-1", "0 or more"]),
    (LLAMA, {"pad_token_id": -2}, ["pad_token_id=-2", "0 or more"]),
    (LLAMA, {"quantization_config": {"bits": 4}}, ["quantization_config", "absent"]),
    (LLAMA, {"num_local_experts": 8}, ["num_local_experts", "absent"]),
    (LLAMA, {"partial_rotary_factor": 0.5}, ["partial_rotary_factor", "1.0"]),
    (LLAMA, {"rope_scaling": {"rope_type": "su", "factor": 4.0}}, ["rope_scaling", "su", "linear", "longrope"]),
    (LLAMA, {"rope_scaling": {"type": "mrope"}}, ["rope_scaling", "mrope", "linear", "longrope"]),
    (LLAMA, {"rope_parameters": {"rope_type": "longrope"}}, ["rope_parameters", "short_factor"]),
    (LLAMA, {"rope_scaling": {**LONG, "long_factor": [1.0]}}, ["rope_scaling", "long_factor", "a list of 4"]),
    (LLAMA, {"rope_scaling": {**LONG, "short_factor": [1, 1, 1, -1]}}, ["short_factor", "positive"]),
    (LLAMA, {"rope_scaling": {"rope_type": "yarn", "factor": 2, "truncate": 1}}, ["truncate", "true or false"]),
    (LLAMA, {"rope_scaling": {"rope_type": "dynamic"}}, ["rope_scaling", "factor"]),
    (LLAMA, {"head_dim": 2, "rope_scaling": {"rope_type": "dynamic", "factor": 2}}, ["rope_type", "2 channels"]),
    (LLAMA, {"rope_parameters": {"partial_rotary_factor": 0.5}}, ["rope_parameters", "partial_rotary_factor", "1.0"]),
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
    (LLAMA, {"use_bidirectional_attention": True}, ["use_bidirectional_attention"]),
    (LLAMA, {"final_logit_softcapping": 30.0}, ["final_logit_softcapping", "absent"]),
    (GEMMA2, {"use_bidirectional_attention": True}, ["use_bidirectional_attention", "False"]),
    (GEMMA2, {"final_logit_softcapping": 0}, ["final_logit_softcapping", "positive number"]),
    (GEMMA2, {"query_pre_attn_scalar": -1}, ["query_pre_attn_scalar", "positive number"]),
    (GEMMA2, {"hidden_act": "relu"}, ["hidden_act", "gelu_pytorch_tanh"]),
    (GEMMA2, {"layer_types": ["sliding_attention"]}, ["layer_types", "2 entries"]),
    (GEMMA3, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, ["rope_type", "full_attention"]),
    (GEMMA3, {"rope_parameters": {"full_attention": {"rope_type": "su"}}}, ["full_attention", "su"]),
    (GEMMA3, {"rope_scaling": {"rope_type": "yarn", "factor": 2, "truncate": False}}, ["truncate", "True"]),
    (NEOX, {"rotary_pct": 1.5}, ["rotary_pct", "1.0"]),
    (NEOX, {"rotary_pct": 0.5, "partial_rotary_factor": 0.25}, ["partial_rotary_factor", "0.5"]),
    (NEOX, {"num_attention_heads": 3}, ["hidden_size", "num_attention_heads=3"]),
    (NEO, {"attention_types": [[["global", "local"], 2]]}, ["attention_types", "2 layers"]),
    (NEO, {"attention_types": [[["sparse"], 2]]}, ["attention_types", "'global'", "'local'"]),
    (NEO, {"attention_types": "global"}, ["attention_types"]),
    (NEO, {"attention_layers": ["global", "global"]}, ["attention_layers", "local"]),
    (NEO, {"window_size": 0}, ["window_size", "positive integer"]),
]


@pytest.mark.parametrize(("base", "change", "named"), REFUSED, ids=lambda v: "-".join(v) if isinstance(v, dict) else "")
def test_unsupported_value_is_named(base, change, named):
    with pytest.raises(models.CheckpointError) as caught:
        config_from_hf({**base, **change}, "some/config.json")
    for word in ["some/config.json", *named]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({**LLAMA, "logit_scale": 0.5, "qk_layernorm": True}, ["logit_scale", "qk_layernorm"]),
        ({**LLAMA, "rope_scaling": {"type": "linear", "factor": 2.0, "beta_fast": 8}}, ["linear", "beta_fast"]),
        ({**GEMMA3, "attn_logit_softcapping": 50.0}, ["attn_logit_softcapping"]),
    ],
)
def test_field_that_nothing_uses_is_named_in_a_warning(values, named):
    with pytest.warns(UserWarning, match=r"some/config\.json") as caught:
        config_from_hf(values, "some/config.json")
    [warning] = caught
    for word in named:
        assert word in str(warning.message)


@pytest.mark.parametrize("values", MINIMAL, ids=lambda v: v["model_type"])
def test_files_that_transformers_writes_cause_no_warning(values, recwarn):
    theirs = their_config(values)
    old = {"torch_dtype": "bfloat16", "temperature": 0.6, "attention_dropout": 0.1, "use_cache": True, "moe": False}
    config_from_hf({**theirs.to_dict(), **old})
    assert not recwarn.list


def test_positions_that_a_scaling_adds_count_as_context():
    assert config_from_hf({**LLAMA, "rope_scaling": SCALINGS[0]}).max_position == 160
    assert config_from_hf({**LLAMA, "rope_scaling": {"type": "yarn", "factor": 4.0}}).max_position == 256
    assert config_from_hf({**LLAMA, "rope_scaling": {"type": "linear", "factor": 4.0}}).max_position == 64


def test_linear_scaling_stretches_a_context_that_is_said_to_be_longer(recwarn):
    """As in Vicuna 16k. The factor alone would not do: Gemma 3 states the context after scaling."""
    values = {**LLAMA, "rope_scaling": {"type": "linear", "factor": 2.5}, "max_sequence_length": 160}
    config = config_from_hf(values)
    assert not recwarn.list
    assert (config.max_position, config.rope_scaling.factor) == (160, 2.5)
    written = config_to_hf(config)
    assert (written["max_position_embeddings"], written["max_sequence_length"]) == (64, 160)
    assert config_from_hf(written) == config
    assert "max_sequence_length" not in config_to_hf(config_from_hf({**LLAMA, "rope_scaling": values["rope_scaling"]}))
    with pytest.warns(UserWarning, match="max_sequence_length: ignored"):
        assert config_from_hf({**values, "max_sequence_length": 128}).max_position == 64


def test_no_pad_as_the_first_conversions_of_llama_say_it():
    assert config_from_hf({**LLAMA, "pad_token_id": -1}).pad_token_id is None


@pytest.mark.parametrize(
    ("family", "stored", "name"),
    [
        ("gpt_neox", "gpt_neox.layers.0.attention.masked_bias", None),
        ("gpt_neox", "gpt_neox.layers.0.attention.bias", None),
        ("gpt_neox", "gpt_neox.layers.3.attention.rotary_emb.inv_freq", None),
        ("gpt_neox", "gpt_neox.layers.3.attention.dense.bias", "gpt_neox.layers.3.attention.dense.bias"),
        ("gpt_neox", "lm_head.weight", "embed_out.weight"),
        ("gpt_neo", "transformer.h.1.attn.attention.bias", None),
        ("gpt_neo", "transformer.h.1.attn.attention.out_proj.bias", "transformer.h.1.attn.attention.out_proj.bias"),
        ("gemma3", "vision_tower.vision_model.embeddings.patch_embedding.weight", None),
        ("gemma3", "model.multi_modal_projector.mm_soft_emb_norm.weight", None),
        ("gemma3", "language_model.model.norm.weight", "model.language_model.norm.weight"),
        ("gemma3", "model.language_model.norm.weight", "model.language_model.norm.weight"),
    ],
)
def test_tensors_of_other_spellings_are_known_and_buffers_left_out(family, stored, name):
    assert FAMILIES[family].tensor_name(stored) == name
