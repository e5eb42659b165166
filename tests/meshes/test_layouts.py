"""Forward, fine-tunes and generation on 8 devices: the results of one device, with the expected collectives alone."""

import chex
import expected
import jax
import layouts
import numpy as np
import pytest
from layouts import CONFIG, HYPER, LAYOUTS

from seal_jax import generation, models, training
from seal_jax.generation import decode
from seal_jax.runtime.mesh import mesh_of, use


@pytest.fixture(scope="module")
def given():
    return layouts.inputs()


@pytest.fixture(scope="module")
def alone(given):
    """Logits, N adapters and losses, one adapter and losses, on one device."""
    return (
        layouts.forward(given.params, CONFIG, given.rows["tokens"], given.rows["mask"]),
        training.finetune_batch(given.params, CONFIG, given.many, given.batches, HYPER),
        training.finetune(given.params, CONFIG, given.one, given.batch, HYPER),
    )


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request):
    return request.param


@pytest.fixture(scope="module")
def spread(given, layout):
    return layouts.placed(given, layout)


@pytest.fixture(scope="module", params=["scan", "unroll"])
def stack(request):
    return request.param


@pytest.fixture(scope="module")
def params(spread, stack):
    return models.unroll(spread.params) if stack == "unroll" else spread.params


def close(found, wanted):
    chex.assert_trees_all_close(jax.device_get(found), jax.device_get(wanted), atol=1e-4)


def compiled(function, params, *rest):
    with use(mesh_of(params)):
        return jax.jit(function).lower(params, *rest).compile()


def test_forward(params, spread, alone, layout, stack):
    program = compiled(lambda p, rows: models.forward(p, CONFIG, rows["tokens"], rows["mask"]), params, spread.rows)
    close(program(params, spread.rows), alone[0])
    assert layouts.said(program) == expected.forward(layout, stack)


def test_many_fine_tunes(params, spread, alone, layout, stack):
    def train(p, many, batches):
        return training.finetune_batch(p, CONFIG, many, batches, HYPER, unrolled=stack == "unroll")

    program = compiled(train, params, spread.many, spread.batches)
    trained, metrics = program(params, spread.many, spread.batches)
    close((trained, metrics), alone[1])
    assert layouts.said(program) == expected.batch(layout, stack)
    for leaf, before in zip(jax.tree.leaves(trained), jax.tree.leaves(spread.many), strict=True):
        assert leaf.addressable_shards[0].data.shape == before.addressable_shards[0].data.shape


def test_one_fine_tune(params, spread, alone, layout, stack):
    def train(p, adapter, batch):
        return training.finetune(p, CONFIG, adapter, batch, HYPER, unrolled=stack == "unroll")

    program = compiled(train, params, spread.one, spread.batch)
    close(program(params, spread.one, spread.batch), alone[2])
    assert layouts.said(program) == expected.one(layout, stack)


PROMPTS = [list(range(1 + i, 5 + i + i % 4)) for i in range(8)]  # of 4 to 7 tokens, padded to 8
GREEDY = {"max_new_tokens": 6, "eos": ()}


@pytest.fixture(scope="module")
def written(given):
    """Greedy, sampled, and greedy under each of the adapters, on one device."""
    params = models.unroll(given.params)
    return (
        generation.generate(params, CONFIG, PROMPTS, None, **GREEDY),
        generation.generate(params, CONFIG, PROMPTS, jax.random.key(0), temperature=1.0, top_p=0.9, **GREEDY),
        generation.generate_batch(params, CONFIG, given.many, [[p] for p in PROMPTS], None, **GREEDY),
    )


@pytest.fixture
def starts(monkeypatch):
    """The programs that `decode.start` compiles."""
    real, programs = decode.start, []

    def start(*args, **kwargs):
        programs.append(real.lower(*args, **kwargs).compile())
        return real(*args, **kwargs)

    monkeypatch.setattr(decode, "start", start)
    return programs


def test_generation(spread, written, layout, starts):
    params = models.unroll(spread.params)
    greedy = generation.generate(params, CONFIG, PROMPTS, None, **GREEDY)
    assert greedy.tokens == written[0].tokens
    for found, wanted in zip(greedy.logprobs, written[0].logprobs, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    many = generation.generate_batch(params, CONFIG, spread.many, [[p] for p in PROMPTS], None, **GREEDY)
    assert [out.tokens for out in many] == [out.tokens for out in written[2]]
    assert [layouts.said(p) for p in starts] == [expected.generation(layout, 8, many) for many in (False, True)]


def test_samples_do_not_depend_on_the_layout(spread, written):
    key, params = jax.random.key(0), models.unroll(spread.params)
    found = generation.generate(params, CONFIG, PROMPTS, key, temperature=1.0, top_p=0.9, **GREEDY)
    assert found.tokens == written[1].tokens


def test_fewer_rows_than_devices(spread, written):
    params = models.unroll(spread.params)
    found = generation.generate(params, CONFIG, PROMPTS[:3], None, **GREEDY)
    assert found.tokens == written[0].tokens[:3]


def test_the_cache_is_split_by_rows_and_heads(spread, layout, monkeypatch):
    states = []
    real = decode.start
    monkeypatch.setattr(decode, "start", lambda *a, **k: states.append(real(*a, **k)) or states[-1])
    generation.generate(models.unroll(spread.params), CONFIG, PROMPTS, None, **GREEDY)
    groups, _, model = expected.SIZES[layout]
    for keys in states[0][0].cache.keys:
        assert keys.sharding.shard_shape(keys.shape)[:2] == (8 // groups, CONFIG.num_kv_heads // model)
