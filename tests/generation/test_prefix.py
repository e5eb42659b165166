"""A shared prefix, several samples of a prompt, and chunks of a long one: the same tokens as without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, generation, models
from seal_jax.generation import decode, engine, settings

CONFIG = models.Config("llama", 64, 32, 48, 2, 4, 2, 8, 128)
WINDOWED = models.Config("mistral", 64, 32, 48, 2, 4, 2, 8, 128, sliding_windows=(6, None))
RNG = np.random.default_rng(0)
PREFIX = RNG.integers(3, 64, 21).tolist()
ENDS = [RNG.integers(3, 64, n).tolist() for n in (4, 1, 7)]
PROMPTS = [PREFIX + end for end in ENDS]
KEY = jax.random.key(7)
SAMPLED = {"max_new_tokens": 14, "temperature": 1.0, "eos": ()}


@pytest.fixture(scope="module")
def params():
    """Unrolled parameters with peaked, varied predictions."""
    wide = jax.tree.map(lambda p: 12 * p if p.ndim > 1 else p, models.init(jax.random.key(0), CONFIG))
    return models.unroll(wide)


@pytest.fixture(scope="module")
def plain(params):
    """What is said without any of it."""
    return generation.generate(params, CONFIG, PROMPTS, KEY, **SAMPLED)


def assert_same(ours, theirs):
    assert ours.tokens == theirs.tokens
    for a, b in zip(ours.logprobs, theirs.logprobs):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("config", [CONFIG, WINDOWED], ids=["full", "windows"])
@pytest.mark.parametrize("chunk", [None, 8])
def test_a_prefix_changes_nothing(params, config, chunk):
    prefix = generation.prefill(params, config, PREFIX, prefill_chunk=chunk)
    expected = generation.generate(params, config, PROMPTS, KEY, **SAMPLED)
    assert_same(
        generation.generate(params, config, PROMPTS, KEY, prefix=prefix, prefill_chunk=chunk, **SAMPLED), expected
    )


def test_the_prefix_is_stored_once_and_survives(params, plain):
    prefix = generation.prefill(params, CONFIG, PREFIX)
    assert {x.shape for x in prefix.part.keys} == {(1, 2, 24, 8)}
    started = []
    for _ in range(2):
        state, own = _started(params, prefix, started)
        assert {x.shape[2] for x in state.cache.keys} == {8 + 16}, "the rows' own slots only"
        assert own == ()
    assert_same(started[0], plain)
    assert_same(started[1], plain)


def _started(params, prefix, outputs):
    seen, start = [], decode.start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "start", lambda *a, **k: seen.append(start(*a, **k)) or seen[-1])
        outputs.append(generation.generate(params, CONFIG, PROMPTS, KEY, prefix=prefix, **SAMPLED))
    return seen[0]


def test_a_prompt_may_be_the_prefix_and_a_tokenizer_may_join_its_end(params):
    prefix = generation.prefill(params, CONFIG, PREFIX)
    prompts = [PREFIX, [*PREFIX[:-2], 9, 9, 9]]
    expected = generation.generate(params, CONFIG, prompts, KEY, **SAMPLED)
    assert_same(generation.generate(params, CONFIG, prompts, KEY, prefix=prefix, **SAMPLED), expected)


def test_penalties_see_the_prefix(params):
    options = {"repetition_penalty": 2.0, "no_repeat_ngram_size": 2, **SAMPLED}
    prefix = generation.prefill(params, CONFIG, PREFIX)
    expected = generation.generate(params, CONFIG, PROMPTS, KEY, **options)
    assert_same(generation.generate(params, CONFIG, PROMPTS, KEY, prefix=prefix, **options), expected)


def test_the_first_sample_is_what_there_is_alone(params, plain):
    three = generation.generate(params, CONFIG, PROMPTS, KEY, samples=3, **SAMPLED)
    two = generation.generate(params, CONFIG, PROMPTS, KEY, samples=2, **SAMPLED)
    assert len(three.tokens) == 9
    assert three.tokens[::3] == plain.tokens
    assert [t for i, t in enumerate(three.tokens) if i % 3 < 2] == two.tokens
    assert len({tuple(t) for t in three.tokens}) == 9
    with_prefix = generation.prefill(params, CONFIG, PREFIX)
    assert_same(generation.generate(params, CONFIG, PROMPTS, KEY, samples=3, prefix=with_prefix, **SAMPLED), three)


def test_samples_prefill_each_prompt_once(params):
    seen, start = [], decode.start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "start", lambda *a, **k: seen.append((a[4].shape, start(*a, **k))) or seen[-1][1])
        generation.generate(params, CONFIG, PROMPTS, KEY, samples=3, **SAMPLED)
    shape, (state, own) = seen[0]
    assert shape == (3, 32)
    assert own[0].keys[0].shape == (3, 2, 32, 8)
    assert state.cache.keys[0].shape == (9, 2, 16, 8)


@pytest.mark.parametrize("chunk", [5, 28, 100])
def test_chunks_change_nothing(params, plain, chunk):
    assert_same(generation.generate(params, CONFIG, PROMPTS, KEY, prefill_chunk=chunk, **SAMPLED), plain)


def test_chunks_share_one_program(params):
    decode.extend.clear_cache()
    for length in (40, 48, 33):
        prompt = RNG.integers(3, 64, length).tolist()
        generation.generate(params, CONFIG, [prompt], None, 4, eos=(), prefill_chunk=8)
    # The first chunk makes the cache and the others fill it; room for 40 and for 48 tokens.
    assert decode.extend._cache_size() == 4


def test_a_chunk_bounds_the_memory(params):
    """Of activations: a chunk of 16 takes a fraction of what 96 tokens at once take."""
    order = settings.order_of(CONFIG, (0.0, None, 1.0), (), (), None, {})
    tokens = np.ones((4, 96), np.int32)
    cache = jax.eval_shape(lambda: models.init_cache(CONFIG, 4, 96))

    def temporary(columns, cache):
        part = tokens[:, :columns]
        lowered = decode.extend.lower(params, None, (), cache, part, part == 1, program=order.program, slots=96)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary(16, cache) < temporary(96, None) / 4


@pytest.fixture(scope="module")
def bank(params):
    """Three LoRA adapters that say different things."""
    trees = []
    for n in range(3):
        fresh = adapters.lora.init(jax.random.key(n), models.stack(params), rank=2, alpha=4, targets="all")
        trees.append({p: {**e, "b": jax.random.normal(jax.random.key(n), e["b"].shape)} for p, e in fresh.items()})
    return trees


def test_a_prefix_under_each_adapter(params, bank):
    stacked = generation.stack_adapters(bank)
    prefix = generation.prefill(params, CONFIG, PREFIX, adapters=stacked)
    how = {"adapters": stacked, "adapter_ids": [2, -1, 2], **SAMPLED}
    expected = generation.generate(params, CONFIG, PROMPTS, KEY, **how)
    assert_same(generation.generate(params, CONFIG, PROMPTS, KEY, prefix=prefix, **how), expected)
    prompts = [PROMPTS[:1], PROMPTS[1:], []]
    expected = generation.generate_batch(params, CONFIG, stacked, prompts, KEY, samples=2, **SAMPLED)
    found = generation.generate_batch(params, CONFIG, stacked, prompts, KEY, samples=2, prefix=prefix, **SAMPLED)
    for ours, theirs in zip(found, expected):
        assert_same(ours, theirs)


def test_rows_that_have_ended_are_dropped_and_change_nothing(params, monkeypatch):
    """With samples: a prompt leaves when all of its samples have ended."""
    prompts = PROMPTS + [RNG.integers(3, 64, n).tolist() for n in (3, 9, 12)]
    limits = [4, 70, 6, 3, 33, 5]
    how = {"temperature": 1.0, "eos": (), "top_logprobs": 2, "repetition_penalty": 1.1, "no_repeat_ngram_size": 3}
    at_once = generation.generate(params, CONFIG, prompts, KEY, limits, samples=2, **how)
    monkeypatch.setattr(engine, "SEGMENT", 8)
    sizes, resume = [], decode.resume
    monkeypatch.setattr(decode, "resume", lambda *a, **k: sizes.append(len(a[3].done)) or resume(*a, **k))
    dropped = generation.generate(params, CONFIG, prompts, KEY, limits, samples=2, **how)
    assert sizes == [4, 4, 4, 2]
    assert_same(dropped, at_once)
    assert [len(t) for t in dropped.tokens] == [n for n in limits for _ in range(2)]
    for ours, theirs in zip(dropped.top_logprobs, at_once.top_logprobs):
        assert [[i for i, _ in t] for t in ours] == [[i for i, _ in t] for t in theirs]


def test_rows_of_adapters_are_dropped_too(params, bank, monkeypatch):
    stacked = generation.stack_adapters(bank)
    prompts = [PROMPTS[:2], PROMPTS[1:], PROMPTS[2:]]
    limits = [[40, 3], [2, 30], [5]]
    how = {"max_new_tokens": limits, "temperature": 1.0, "eos": ()}
    at_once = generation.generate_batch(params, CONFIG, stacked, prompts, KEY, **how)
    monkeypatch.setattr(engine, "SEGMENT", 8)
    sizes, resume = [], decode.resume
    monkeypatch.setattr(decode, "resume", lambda *a, **k: sizes.append(a[3].cache.keys[0].shape[:2]) or resume(*a, **k))
    for ours, theirs in zip(generation.generate_batch(params, CONFIG, stacked, prompts, KEY, **how), at_once):
        assert_same(ours, theirs)
    assert set(sizes) == {(3, 1)}


def test_top_logprobs_are_those_of_the_unmodified_model(params):
    out = generation.generate(params, CONFIG, PROMPTS, KEY, top_logprobs=3, repetition_penalty=1.5, **SAMPLED)
    rows = [p + t for p, t in zip(PROMPTS, out.tokens)]
    width = max(map(len, rows))
    tokens = jnp.array([row + [0] * (width - len(row)) for row in rows])
    mask = jnp.arange(width)[None] < jnp.array([len(row) for row in rows])[:, None]
    expected = np.asarray(jax.nn.log_softmax(jax.jit(models.forward, static_argnums=1)(params, CONFIG, tokens, mask)))
    for row, prompt in enumerate(PROMPTS):
        for t, likeliest in enumerate(out.top_logprobs[row]):
            column = expected[row, len(prompt) - 1 + t]
            assert [i for i, _ in likeliest] == np.argsort(-column)[:3].tolist()
            np.testing.assert_allclose([p for _, p in likeliest], np.sort(column)[::-1][:3], atol=1e-4)
    scores = generation.score(params, CONFIG, PROMPTS, out.tokens)
    for ours, theirs in zip(scores, out.logprobs):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"prompts": [PROMPTS[0], [5] * 30]},
            "prompt 1 does not continue the prefix of 21 tokens: its token 0",
        ),
        ({"prompts": [PREFIX[:9]]}, "prompt 0 does not continue the prefix of 21 tokens: it has 9 tokens"),
        ({"max_new_tokens": 104}, "prompt 0 has 25 tokens and may grow by 104"),
        ({"prefill_chunk": 0}, "prefill_chunk=0: expected None"),
        ({"samples": 0}, "samples=0: expected 1 or more"),
        ({"top_logprobs": 65}, r"top_logprobs=65: expected 0 \(none\) to 64"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens=9 is more than max_new_tokens, 8"),
        ({"adapter_ids": [0, 0, 0]}, "adapter_ids tells which of adapters= each prompt uses: pass both"),
    ],
)
def test_bad_input_is_refused_before_any_work(params, change, message):
    prefix = generation.prefill(params, CONFIG, PREFIX)
    with pytest.raises(ValueError, match=message):
        generation.generate({}, CONFIG, **{"prompts": PROMPTS, "key": None, "prefix": prefix, **change})


def test_a_prefix_of_another_kind_is_refused(params, bank):
    prefix = generation.prefill(params, CONFIG, PREFIX)
    with pytest.raises(ValueError, match="another config"):
        generation.generate({}, WINDOWED, PROMPTS, None, prefix=prefix)
    stacked = generation.stack_adapters(bank)
    with pytest.raises(ValueError, match="with no adapters, and this call has 3 adapters"):
        generation.generate({}, CONFIG, PROMPTS, None, prefix=prefix, adapters=stacked, adapter_ids=[0, 1, 2])
    with pytest.raises(ValueError, match="the prefix has 128 tokens, which fill the model's 128 positions"):
        generation.prefill({}, CONFIG, [5] * 128)
    with pytest.raises(TypeError, match="no option 'min_length'"):
        generation.generate({}, CONFIG, PROMPTS, None, min_length=3)
