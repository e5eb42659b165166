"""Greedy generation against transformers, token for token, for every family, in ragged batches."""

import numpy as np
import pytest
import torch
import transformers

from seal_jax import generation, models

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES = {
    "Llama": {},
    "Mistral": {"sliding_window": 6},
    "Qwen2": {},
    "Qwen3": {"head_dim": 12},
}
NEW = 24
RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(3, 96, n).tolist() for n in (5, 1, 11, 8, 2)]


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory):
    """A transformers model and the same checkpoint loaded by us."""
    torch.manual_seed(1)
    config = getattr(transformers, f"{request.param}Config")(**SIZES, **FAMILIES[request.param])
    theirs = getattr(transformers, f"{request.param}ForCausalLM")(config).eval()
    folder = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder)
    ours = models.from_pretrained(folder)
    return theirs, ours.config, models.unroll(ours.params)


def reference(theirs, eos):
    """The continuation of each prompt by `transformers.generate`, left-padded, cut before the EOS."""
    width = max(map(len, PROMPTS))
    tokens = torch.tensor([[0] * (width - len(p)) + p for p in PROMPTS])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in PROMPTS])
    out = theirs.generate(
        tokens, attention_mask=mask, max_new_tokens=NEW, do_sample=False, eos_token_id=eos, pad_token_id=0
    )
    rows = [row[width:].tolist() for row in out]
    return [row[: row.index(eos)] if eos in row else row for row in rows]


def test_greedy_equals_transformers(pair):
    theirs, config, params = pair
    never = reference(theirs, eos=None)
    assert len({t for row in never for t in row}) > 20, "a model that repeats itself would prove little"
    ours = generation.generate(params, config, PROMPTS, None, max_new_tokens=NEW, eos=())
    assert ours.tokens == never
    assert ours.finished == [False] * len(PROMPTS)

    eos = never[0][NEW // 2]
    ours = generation.generate(params, config, PROMPTS, None, max_new_tokens=NEW, eos=(eos,))
    assert ours.tokens == reference(theirs, eos)
    assert ours.finished == [eos in row for row in never]
