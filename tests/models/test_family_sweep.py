"""Random configurations of every family against transformers: those nobody wrote a test for must load and agree too.

`draw` is seeded and covers odd sizes, one key/value head, head sizes of their own, every flag, activation and rotary
scaling of a family. The suite runs a few draws of each; more were run once (`SWEEP=40 pytest ...`).
"""

import os

import numpy as np
import pytest
import transformers
from family_rows import batch, our_logits, their_logits, their_model

from seal_jax import models
from seal_jax.models.families import config_from_hf, config_to_hf

DRAWS = int(os.environ.get("SWEEP", "2"))
KINDS_OF_ROPE = ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional")
LAYER_TYPES = ("full_attention", "sliding_attention")
ACTIVATIONS = ("silu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "relu2", "quick_gelu", "tanh")


def rope(rng, turned, kinds=KINDS_OF_ROPE, truncate=True):
    """Rotary settings as transformers 5 spells them; `turned`: channels that turn under a partial rotary factor."""
    kind = str(rng.choice(kinds))
    values = {"rope_type": kind, "rope_theta": float(rng.choice([100.0, 10000.0, 5e5]))}
    if kind in ("linear", "dynamic", "yarn", "llama3"):
        values["factor"] = float(rng.choice([1.0, 2.5, 8.0]))
    if kind in ("yarn", "longrope", "llama3"):
        values["original_max_position_embeddings"] = int(rng.choice([6, 16, 40]))
    if kind == "llama3":
        values |= {"low_freq_factor": float(rng.choice([1.0, 0.5])), "high_freq_factor": float(rng.choice([2.0, 4.0]))}
    if kind == "longrope":
        count = (turned + 1) // 2
        values |= {name: rng.uniform(1, 5, count).round(2).tolist() for name in ("short_factor", "long_factor")}
        values |= {"attention_factor": 1.3} if rng.random() < 0.3 else {}
        values |= {"factor": 3.0} if rng.random() < 0.5 else {}
    if kind == "yarn":
        options = {"attention_factor": 1.2, "mscale": 0.8, "mscale_all_dim": 0.6, "beta_fast": 8, "beta_slow": 2}
        values |= {name: value for name, value in options.items() if rng.random() < 0.4}
        values |= {"truncate": bool(rng.integers(2))} if truncate else {}
    if kind == "proportional":
        values |= {"partial_rotary_factor": float(rng.choice([0.25, 0.5, 1.0]))}
    return values


def sizes(rng, even=True):
    heads = int(rng.integers(1, 5))
    width = int(rng.choice([4, 6, 8, 12] if even else [3, 5, 8, 10]))
    return {
        "vocab_size": int(rng.integers(97, 140)),
        "hidden_size": heads * width,
        "intermediate_size": int(rng.integers(5, 60)),
        "num_hidden_layers": int(rng.integers(1, 6)),
        "num_attention_heads": heads,
        "max_position_embeddings": int(rng.choice([11, 40])),
        "initializer_range": 0.3,
        "hidden_act": str(rng.choice(ACTIVATIONS)),
        "tie_word_embeddings": bool(rng.integers(2)),
        "bos_token_id": 1,
        "eos_token_id": [2, 3] if rng.random() < 0.3 else 2,
        "pad_token_id": None if rng.random() < 0.3 else 0,
    }


def grouped(rng):
    """Sizes of a family with grouped key/value heads of a size of their own."""
    values = sizes(rng)
    heads = values["num_attention_heads"]
    values["num_key_value_heads"] = int(rng.choice([n for n in range(1, heads + 1) if heads % n == 0]))
    values["head_dim"] = int(rng.choice([4, 6, 10, 16]))
    values["rms_norm_eps"] = float(rng.choice([1e-6, 1e-5, 0.1]))
    values["rope_parameters"] = rope(rng, values["head_dim"])
    return values


def layer_types(rng, count):
    return [str(t) for t in rng.choice(LAYER_TYPES, count)]


def llama(rng):
    return {**grouped(rng), "attention_bias": bool(rng.integers(2)), "mlp_bias": bool(rng.integers(2))}


def mistral(rng):
    return {**grouped(rng), "sliding_window": [None, 1, 4][rng.integers(3)]}


def qwen2(rng):
    values = {**grouped(rng), "use_sliding_window": bool(rng.integers(2)), "sliding_window": int(rng.integers(1, 6))}
    if values["use_sliding_window"] and rng.random() < 0.5:
        return {**values, "layer_types": layer_types(rng, values["num_hidden_layers"])}
    return {**values, "max_window_layers": int(rng.integers(0, 6))}


def qwen3(rng):
    return {**qwen2(rng), "attention_bias": bool(rng.integers(2))}


def gemma(rng):
    return {**grouped(rng), "attention_bias": bool(rng.integers(2))}


def gemma2(rng):
    values = gemma(rng)
    values["hidden_activation"] = values.pop("hidden_act")
    if rng.random() < 0.5:
        values["layer_types"] = layer_types(rng, values["num_hidden_layers"])
    return values | {
        "sliding_window": int(rng.integers(1, 6)),
        "query_pre_attn_scalar": int(rng.integers(1, 40)),
        "attn_logit_softcapping": [None, 2.0][rng.integers(2)],
        "final_logit_softcapping": [None, 5.0][rng.integers(2)],
    }


def gemma3(rng):
    values = gemma2(rng)
    values["rope_parameters"] = {kind: rope(rng, values["head_dim"], truncate=False) for kind in LAYER_TYPES}
    return values if "layer_types" in values else {**values, "sliding_window_pattern": int(rng.integers(1, 4))}


def gpt_neox(rng):
    values = sizes(rng, even=bool(rng.integers(2)))
    width = values["hidden_size"] // values["num_attention_heads"]
    share = float(rng.choice([0.25, 0.5, 1.0] if width % 2 == 0 else [0.25, 0.5]))
    turned = int(width * share)
    odd = [kind for kind in KINDS_OF_ROPE if kind not in ("yarn", "proportional", "dynamic")]
    kinds = odd if turned % 2 or width % 2 or turned <= 2 else KINDS_OF_ROPE
    return values | {
        "rope_parameters": {"partial_rotary_factor": share, **rope(rng, turned, kinds)},
        "use_parallel_residual": bool(rng.integers(2)),
        "attention_bias": bool(rng.integers(2)),
        "layer_norm_eps": float(rng.choice([1e-5, 0.1])),
    }


def gpt_neo(rng):
    values = sizes(rng, even=False)
    for new, old in (("layers", "hidden_layers"), ("heads", "attention_heads")):
        values[f"num_{new}"] = values.pop(f"num_{old}")
    values["activation_function"] = values.pop("hidden_act")
    kinds = [str(k) for k in rng.choice(["global", "local"], values["num_layers"])]
    return values | {
        "intermediate_size": [None, values["intermediate_size"]][rng.integers(2)],
        "attention_types": [[[kind], 1] for kind in kinds],
        "window_size": int(rng.integers(1, 6)),
        "layer_norm_epsilon": float(rng.choice([1e-5, 0.1])),
    }


KINDS = {
    "Llama": llama,
    "Mistral": mistral,
    "Qwen2": qwen2,
    "Qwen3": qwen3,
    "Gemma": gemma,
    "Gemma2": gemma2,
    "Gemma3Text": gemma3,
    "GPTNeoX": gpt_neox,
    "GPTNeo": gpt_neo,
}


def draw(kind, seed):
    values = KINDS[kind](np.random.default_rng([seed, list(KINDS).index(kind)]))
    return getattr(transformers, f"{kind}Config")(**values, attn_implementation="eager")


@pytest.mark.parametrize("seed", range(DRAWS))
@pytest.mark.parametrize("kind", KINDS)
def test_a_random_configuration_has_the_logits_of_transformers(kind, seed, tmp_path):
    config = draw(kind, seed)
    theirs = their_model(config)
    theirs.save_pretrained(tmp_path)
    ours = models.from_pretrained(tmp_path)
    tokens, mask = batch()
    wanted = their_logits(theirs, tokens, mask)[mask]
    tolerance = 1e-4 * max(1.0, float(wanted.std()))
    np.testing.assert_allclose(our_logits(ours, tokens, mask)[mask], wanted, atol=tolerance, rtol=0)
    assert config_from_hf(config_to_hf(ours.config)) == ours.config
