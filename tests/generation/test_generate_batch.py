"""Many adapters at once give what each gives alone, from one program that shares the base."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from seal_jax import adapters, generation, models
from seal_jax.generation import decode, engine, settings
from seal_jax.generation.bank import Bank

CONFIG = models.Config("llama", 64, 32, 48, 2, 4, 2, 8, 256)
RNG = np.random.default_rng(0)
PROMPTS = [[RNG.integers(3, 64, n).tolist() for n in lengths] for lengths in ((4, 7, 1), (6,), (), (3, 5))]
KEY = jax.random.key(5)
SAMPLED = {"max_new_tokens": 12, "temperature": 1.0, "eos": ()}


@pytest.fixture(scope="module")
def params():
    """Stacked parameters with peaked, varied predictions."""
    return jax.tree.map(lambda p: 12 * p if p.ndim > 1 else p, models.init(jax.random.key(0), CONFIG))


def lora(key, params):
    fresh = adapters.lora.init(key, params, rank=3, alpha=6, targets="all")
    return {path: {**e, "b": jax.random.normal(key, e["b"].shape)} for path, e in fresh.items()}


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@pytest.fixture(scope="module")
def loras(params):
    """Four adapters that say different things."""
    return [lora(jax.random.key(n), params) for n in range(len(PROMPTS))]


@pytest.fixture(scope="module")
def together(params, loras):
    """Their output, sampled, in one call."""
    return generation.generate_batch(params, CONFIG, stacked(loras), PROMPTS, KEY, **SAMPLED)


def assert_same(ours, theirs):
    assert ours.tokens == theirs.tokens
    assert ours.finished == theirs.finished
    for a, b in zip(ours.logprobs, theirs.logprobs):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_each_adapter_answers_as_it_does_alone(params, loras, together):
    assert [len(out.tokens) for out in together] == [3, 1, 0, 2]
    for n, out in enumerate(together):
        adapted = adapters.attach(params, loras[n])
        alone = generation.generate(adapted, CONFIG, PROMPTS[n], jax.random.fold_in(KEY, n), **SAMPLED)
        assert_same(out, alone)
    base = generation.generate(params, CONFIG, PROMPTS[0], jax.random.fold_in(KEY, 0), **SAMPLED)
    assert base.tokens != together[0].tokens


def test_keys_may_be_given_one_by_one(params, loras, together):
    order = [3, 1]
    keys = jnp.stack([jax.random.fold_in(KEY, n) for n in order])
    some = generation.generate_batch(
        params, CONFIG, stacked([loras[n] for n in order]), [PROMPTS[n] for n in order], keys, **SAMPLED
    )
    for n, out in zip(order, some):
        assert_same(out, together[n])


def test_greedy_with_limits_per_row(params, loras):
    limits = [[3, 12, 0], 5, [], [2, 1]]
    bank = stacked(loras)
    outs = generation.generate_batch(params, CONFIG, bank, PROMPTS, None, max_new_tokens=limits, eos=())
    assert [[len(t) for t in out.tokens] for out in outs] == [[3, 12, 0], [5], [], [2, 1]]
    alone = generation.generate(
        adapters.attach(params, loras[0]), CONFIG, PROMPTS[0], None, max_new_tokens=limits[0], eos=()
    )
    assert_same(outs[0], alone)


def test_svf_experts_share_their_factors(params):
    factors = adapters.svf.factor(params, targets=("mlp", "o_proj"))
    experts = [adapters.svf.init(jax.random.key(n), factors, mean=0.0, std=2.0) for n in range(2)]
    prompts = PROMPTS[:2]
    outs = generation.generate_batch(
        params, CONFIG, stacked(experts), prompts, None, max_new_tokens=12, eos=(), factors=factors, compose="plain"
    )
    for n, out in enumerate(outs):
        adapted = adapters.attach(params, experts[n], factors, compose="plain")
        assert_same(out, generation.generate(adapted, CONFIG, prompts[n], None, max_new_tokens=12, eos=()))


@pytest.fixture(scope="module")
def sharded(params, loras):
    """One adapter on each of four devices, the base on all of them."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    base = jax.device_put(models.unroll(params), NamedSharding(mesh, PartitionSpec()))
    return base, jax.device_put(stacked(loras), NamedSharding(mesh, PartitionSpec("data")))


def test_adapters_sharded_over_devices_say_the_same(sharded, together):
    base, bank = sharded
    for ours, theirs in zip(generation.generate_batch(base, CONFIG, bank, PROMPTS, KEY, **SAMPLED), together):
        assert_same(ours, theirs)


def test_what_the_sharded_program_sends_and_writes(sharded):
    base, bank = sharded
    tokens = np.zeros((16, 8), np.int32)
    order = settings.order_of(CONFIG, (0.0, None, 1.0), (), (), None, {})
    job = engine.job_of(jnp.full((16,), 8, jnp.int32), jax.random.split(KEY, 16), order)
    lowered = decode.start.lower(
        base, Bank(bank), (), None, tokens, tokens == 0, None, job, program=order.program, room=8
    )
    compiled = lowered.compile()
    text = compiled.as_text()
    # Each step writes its slot of the cache in place, and devices tell one another only whether they are done.
    assert " while(" in text
    assert " scatter(" not in text
    sent = re.findall(r"= (\S+) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)", text)
    assert set(sent) == {("pred[]", "all-reduce")}
    assert compiled.output_shardings[0].cache.keys[0].spec[0] == "data"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": PROMPTS[:3]}, r"3 lists of prompts, but adapter leaves lead with axes \[\(4,\)\]"),
        ({"prompts": [[[5]], [[5], []], [], []]}, "adapter 1, prompt 1 is empty"),
        ({"max_new_tokens": [1, 2]}, "2 lists of max_new_tokens for 4"),
        ({"key": jax.random.split(KEY, 3)}, "3 keys for 4 adapters"),
        ({"max_new_tokens": 250}, "adapter 0, prompt 1 has 7 tokens"),
    ],
)
def test_bad_input(params, loras, change, message):
    arguments = {"prompts": PROMPTS, "key": None, **change}
    with pytest.raises(ValueError, match=message):
        generation.generate_batch(params, CONFIG, stacked(loras), **arguments)


def test_adapters_of_another_depth_are_refused(params, loras):
    longer = jax.tree.map(lambda x: jnp.concatenate([x, x], axis=1), stacked(loras))
    with pytest.raises(ValueError, match=r"layers/.*/kernel: a of shape \(4, 4, 48, 3\) is not stacked for 2 layers"):
        generation.generate_batch(params, CONFIG, longer, PROMPTS, None, max_new_tokens=4)
