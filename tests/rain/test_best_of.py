"""The best of N samples: the judge's choice among what `generate` draws, with what it cost."""

import jax
import jax.numpy as jnp
import pytest

from seal_jax import models
from seal_jax.generation import generate
from seal_jax.rain import best_of
from seal_jax.rain.judge import from_reward

CONFIG = models.Config(
    model_type="llama",
    vocab_size=12,
    hidden_size=16,
    intermediate_size=32,
    num_layers=1,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    max_position=32,
)
PROMPTS = [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
KEY, NEW, SAMPLES, EOS = jax.random.key(1), 3, 6, 0


def threes(tokens, mask, key):
    """The share of tokens that are 3 or more, between -1 and 1; prompts are shown."""
    del key
    return 2 * (mask & (tokens >= 3)).sum(-1) / mask.sum(-1) - 1


JUDGE = from_reward(threes, passes=2, extra_tokens=5, room=20)


@pytest.fixture(scope="module")
def params():
    """Parameters of a model that is sure enough of itself for samples to coincide."""
    params = models.init(jax.random.key(0), CONFIG)
    return {**params, "lm_head": {"kernel": params["lm_head"]["kernel"] * 40}}


@pytest.fixture(scope="module")
def found(params):
    return best_of(params, CONFIG, PROMPTS, KEY, judge=JUDGE, samples=SAMPLES, max_new_tokens=NEW, eos=EOS)


@pytest.fixture(scope="module")
def drawn(params):
    out = generate(params, CONFIG, PROMPTS, KEY, NEW, 1.0, eos=EOS, samples=SAMPLES)
    return [out.tokens[n : n + SAMPLES] for n in range(0, len(out.tokens), SAMPLES)]


def value(prompt, sample):
    tokens = jnp.array([[*prompt, *sample]])
    return float(threes(tokens, jnp.ones_like(tokens, bool), None)[0])


def test_it_is_the_first_of_the_best_samples(found, drawn):
    for prompt, samples, tokens, best in zip(PROMPTS, drawn, found.tokens, found.values):
        values = [value(prompt, sample) for sample in samples]
        assert tokens == samples[values.index(max(values))]
        assert best == pytest.approx(max(values), abs=1e-6)


def test_what_was_processed_is_counted(found, drawn):
    for row, (prompt, samples) in enumerate(zip(PROMPTS, drawn)):
        distinct = {tuple(sample) for sample in samples}
        judged = sum(len(prompt) + len(sample) + 5 for sample in distinct)
        assert found.judged[row] == len(distinct)
        assert found.tokens_processed[row] == len(prompt) + sum(map(len, samples)) + judged
        assert found.passes[row] == 1 + max(map(len, samples)) + 2
    assert min(found.judged) < SAMPLES


def test_prompts_are_drawn_for_alike_in_any_number(params, found):
    few = best_of(params, CONFIG, PROMPTS, KEY, judge=JUDGE, samples=SAMPLES, max_new_tokens=NEW, eos=EOS, rows=8)
    assert few == found


def test_what_cannot_be_drawn(params):
    with pytest.raises(ValueError, match="samples=0"):
        best_of(params, CONFIG, PROMPTS, KEY, judge=JUDGE, samples=0)
    with pytest.raises(ValueError, match="may have 68 tokens, and the judge's prompt leaves room for 20"):
        best_of(params, CONFIG, PROMPTS, KEY, judge=JUDGE, samples=2)
