"""Rows do not depend on their batch; long generations grow their cache; shapes are few; bad input is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import generation, models
from seal_jax.generation import decode, engine
from seal_jax.generation.prompts import bucket

CONFIG = models.Config("llama", 64, 32, 48, 2, 4, 2, 8, 256, eos_token_ids=(2,))
RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(3, 64, n).tolist() for n in (4, 7, 1, 6, 3)]
SAMPLED = {"temperature": 1.0, "top_p": 0.95, "eos": ()}


@pytest.fixture(scope="module")
def params():
    """Unrolled parameters with peaked, varied predictions."""
    wide = jax.tree.map(lambda p: 12 * p if p.ndim > 1 else p, models.init(jax.random.key(0), CONFIG))
    return models.unroll(wide)


def test_a_row_alone_draws_what_it_draws_in_a_batch(params):
    key = jax.random.key(7)
    batch = generation.generate(params, CONFIG, PROMPTS, key, max_new_tokens=16, **SAMPLED)
    alone = generation.generate(params, CONFIG, PROMPTS[3:4], key, max_new_tokens=16, row_ids=[3], **SAMPLED)
    assert alone.tokens[0] == batch.tokens[3]
    np.testing.assert_allclose(alone.logprobs[0], batch.logprobs[3], atol=1e-4)
    order = [4, 0, 3, 1, 2]
    shuffled = generation.generate(
        params, CONFIG, [PROMPTS[i] for i in order], key, max_new_tokens=16, row_ids=order, **SAMPLED
    )
    assert shuffled.tokens == [batch.tokens[i] for i in order]
    other = generation.generate(params, CONFIG, PROMPTS[3:4], key, max_new_tokens=16, row_ids=[9], **SAMPLED)
    assert other.tokens[0] != batch.tokens[3]


def test_logprobs_are_those_of_the_unmodified_model(params):
    out = generation.generate(params, CONFIG, PROMPTS, jax.random.key(7), max_new_tokens=16, **SAMPLED)
    rows = [p + t for p, t in zip(PROMPTS, out.tokens)]
    tokens = jnp.array([row + [0] * (23 - len(row)) for row in rows])
    mask = jnp.arange(23)[None] < jnp.array([len(row) for row in rows])[:, None]
    expected = jax.nn.log_softmax(jax.jit(models.forward, static_argnums=1)(params, CONFIG, tokens, mask))
    for row, (prompt, new) in enumerate(zip(PROMPTS, out.tokens)):
        at = np.arange(len(prompt) - 1, len(prompt) + 15)
        np.testing.assert_allclose(out.logprobs[row], expected[row, at, np.array(new)], atol=1e-4)


def test_old_style_keys_and_stacked_parameters_give_the_same(params):
    batch = generation.generate(params, CONFIG, PROMPTS, jax.random.key(7), max_new_tokens=16, **SAMPLED)
    old = generation.generate(models.stack(params), CONFIG, PROMPTS, jax.random.PRNGKey(7), 16, **SAMPLED)
    assert old == batch


def test_limits_per_row_and_eos_of_the_config(params):
    free = generation.generate(params, CONFIG, PROMPTS, None, max_new_tokens=16, eos=())
    limits = [3, 0, 16, 1, 7]
    out = generation.generate(params, CONFIG, PROMPTS, None, max_new_tokens=limits, eos=())
    assert out.tokens == [t[:n] for t, n in zip(free.tokens, limits)]
    assert [len(p) for p in out.logprobs] == limits
    assert not any(out.finished)

    eos = free.tokens[2][5]
    config = models.Config("llama", 64, 32, 48, 2, 4, 2, 8, 256, eos_token_ids=(eos,))
    out = generation.generate(params, config, PROMPTS, None, max_new_tokens=16)
    assert out.tokens == [t[: t.index(eos)] if eos in t else t for t in free.tokens]
    assert out.finished == [eos in t for t in free.tokens]
    assert out.finished[2]
    assert [len(p) for p in out.logprobs] == [len(t) for t in out.tokens]


def test_growing_the_cache_in_segments_changes_nothing(params, monkeypatch):
    at_once = generation.generate(params, CONFIG, PROMPTS, jax.random.key(1), max_new_tokens=60, **SAMPLED)
    monkeypatch.setattr(engine, "SEGMENT", 8)
    in_parts = generation.generate(params, CONFIG, PROMPTS, jax.random.key(1), max_new_tokens=60, **SAMPLED)
    assert in_parts.tokens == at_once.tokens
    for ours, theirs in zip(in_parts.logprobs, at_once.logprobs):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def _noted(states, started):
    states.append(started[0])
    return started


def test_the_loop_stops_when_every_row_has_ended(params, monkeypatch):
    states, start = [], decode.start
    monkeypatch.setattr(decode, "start", lambda *a, **k: _noted(states, start(*a, **k)))
    generation.generate(params, CONFIG, PROMPTS, None, max_new_tokens=[3, 0, 5, 1, 2], eos=())
    assert int(states[-1].step) == 5
    free = generation.generate(params, CONFIG, PROMPTS[:1], None, max_new_tokens=16, eos=())
    generation.generate(params, CONFIG, PROMPTS[:1], None, max_new_tokens=16, eos=(free.tokens[0][2],))
    assert int(states[-1].step) == 3


def test_a_loop_over_data_compiles_few_programs(params):
    decode.start.clear_cache()
    for n in range(40):
        rows = 5 + n % 4
        prompts = [[3 + (n + i) % 60] * (9 + (n * i) % 8) for i in range(rows)]
        generation.generate(
            params,
            CONFIG,
            prompts,
            jax.random.key(n),
            max_new_tokens=[17 + (n + i) % 8 for i in range(rows)],
            temperature=0.5 + n / 40,
            top_p=0.5 + n / 100,
            eos=(n,),
        )
    # Rows 5..6 and 7..8; lengths 9..12 and 13..16; 17..24 new tokens: at most four programs.
    assert decode.start._cache_size() <= 4


def test_buckets_are_few_and_never_too_small():
    sizes = [bucket(n) for n in range(1, 2000)]
    assert all(n <= size < 2 * n for n, size in enumerate(sizes, 1))
    assert sorted(set(sizes))[:9] == [1, 2, 3, 4, 6, 8, 12, 16, 24]
    assert {bucket(n, least=8) for n in range(1, 30)} == {8, 12, 16, 24, 32}


def test_a_bfloat16_model_generates(params):
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    out = generation.generate(half, CONFIG, PROMPTS, jax.random.key(0), max_new_tokens=16, **SAMPLED)
    assert [len(t) for t in out.tokens] == [16] * 5
    assert np.isfinite(out.logprobs).all()


def test_no_prompts_no_output(params):
    assert generation.generate(params, CONFIG, [], None) == ([], None, [], [], None, [])
    assert generation.generate(params, CONFIG, [[5], [6]], None, max_new_tokens=0).tokens == [[], []]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": [[5], []]}, "prompt 1 is empty"),
        ({"prompts": [[5], "text"]}, "prompt 1 is a string: pass tokenizer="),
        ({"prompts": "text"}, "one string"),
        ({"prompts": [[5], [6, 64]]}, r"prompt 1 has token 64, outside the vocabulary 0\.\.63"),
        ({"prompts": [[-1]]}, "token -1"),
        ({"prompts": [[0.5]]}, "not a flat list of token ids"),
        (
            {"prompts": [[5], [6] * 250], "max_new_tokens": 7},
            "prompt 1 has 250 tokens and may grow by 7.*256 positions",
        ),
        ({"max_new_tokens": [1, 2, 3]}, "for 2 prompts: expected one integer"),
        ({"max_new_tokens": [1, -2]}, "max_new_tokens is -2 for prompt 1"),
        ({"max_new_tokens": 2**40}, "prompt 0 has 1 tokens and may grow by 1099511627776"),
        ({"eos": (64,)}, "eos has token 64"),
        ({"stop": "\n"}, "needs tokenizer="),
        ({"row_ids": [1]}, "1 row_ids for 2 prompts"),
        ({"row_ids": [1, 2**33]}, "prompt 1: row_ids=8589934592: expected an integer of 32 bits"),
        ({"row_ids": [0.5, 1]}, r"prompt 0: row_ids=0\.5: expected an integer"),
        ({"prompts": [5, 6, 7]}, "prompts is one list of token ids: pass a list of prompts"),
        ({"row_ids": 3}, "row_ids=3 for 2 prompts"),
        ({"prompts": 5}, "prompts is int, expected a list of prompts"),
        ({"prompts": np.array([5, 6])}, "prompts is one list of token ids"),
        ({"prompts": {"input_ids": [[5]]}}, r"prompts is a dict, expected a list of prompts: pass its \['input_ids'\]"),
        ({"prompts": [{"input_ids": [5]}]}, r"prompt 0 is a dict, .*: pass its \['input_ids'\]"),
        ({"prompts": [{"role": "user", "content": "a"}]}, "prompts is one list of messages"),
        ({"prompts": [[5], 6]}, "prompt 1 is 6, expected text, messages or token ids"),
        ({"prompts": [[[5], [6, 7]]]}, "prompt 0 is not a flat list of token ids: it has lists of different lengths"),
        ({"prompts": ([5] for _ in range(2))}, "prompts is generator, expected a list"),
        ({"samples": 1.5}, r"samples=1\.5: expected 1 or more"),
        ({"top_logprobs": 1.5}, r"top_logprobs=1\.5: expected 0"),
        ({"prefill_chunk": 1.5}, r"prefill_chunk=1\.5: expected None"),
        ({"temperature": 1.0}, "needs a key"),
        ({"key": jax.random.split(jax.random.key(0), 2)}, "2 keys: expected one"),
    ],
)
def test_bad_input_is_refused_before_any_work(change, message):
    arguments = {"prompts": [[5], [6]], "key": None, **change}
    with pytest.raises(ValueError, match=message):
        generation.generate({}, CONFIG, **arguments)


@pytest.mark.parametrize("key", [0, np.int32(0), jnp.zeros(2), [1, 2]])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(TypeError, match=r"is not a random key: pass jax\.random\.key\(seed\)"):
        generation.generate({}, CONFIG, [[5]], key, temperature=1.0)
