"""Adapters on a whole model: every way to run them is the run of the merged weights. A kind is one row of ADAPTERS."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, models, training
from seal_jax.adapters import SVF, LoRA, attach, lora, materialize, svf

CONFIG = models.Config("llama", 48, 16, 24, 2, 2, 1, 8, 64)
Q, UP = "layers/self_attn/q_proj/kernel", "layers/mlp/up_proj/kernel"
TOKENS = jax.random.randint(jax.random.key(5), (2, 7), 0, 48)
N = 3


@pytest.fixture(scope="module")
def params():
    params = models.init(jax.random.key(0), CONFIG)
    return jax.tree.map(lambda x: x * 10 if x.std() else x, params)


@pytest.fixture(scope="module")
def factors(params):
    return svf.factor(params, "mlp")


def random_lora(key, params):
    adapter = lora.init(key, params, rank=2, alpha=4, targets=("q_proj", "up_proj", "lm_head"))
    for i, entry in enumerate(adapter.values()):
        entry["b"] = 0.3 * jax.random.normal(jax.random.fold_in(key, i), entry["b"].shape)
    return adapter


def random_svf(key, factors):
    return svf.init(key, factors, mean=0.0, std=1.5)


# Name: the adapters of one draw, and how they are attached to the parameters.
ADAPTERS = {
    "lora": (
        lambda key, params, factors: random_lora(key, params),
        lambda params, factors, adapter: attach(params, adapter),
    ),
    "svf": (
        lambda key, params, factors: random_svf(key, factors),
        lambda params, factors, adapter: attach(params, adapter, factors),
    ),
    "lora_over_svf": (
        lambda key, params, factors: {"svf": random_svf(key, factors), "lora": random_lora(key, params)},
        lambda params, factors, adapter: attach(attach(params, adapter["svf"], factors), adapter["lora"]),
    ),
}


def loss_of(kind, merge, base, factors, adapter):
    """A scalar that depends on every logit, and the logits `[B, T, V]`."""
    joined = ADAPTERS[kind][1](base, factors, adapter)
    logits = models.forward(materialize(joined) if merge else joined, CONFIG, TOKENS)
    return jax.nn.logsumexp(logits, axis=-1).mean(), logits


run = jax.jit(jax.value_and_grad(loss_of, argnums=4, has_aux=True), static_argnums=(0, 1))
run_many = jax.jit(
    lambda kind, *args: jax.vmap(partial(run, kind, False), in_axes=(None, None, 0))(*args), static_argnums=0
)
forward = jax.jit(models.forward, static_argnums=1)


@pytest.fixture(scope="module", params=ADAPTERS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def draw(kind, params, factors):
    return lambda seed: ADAPTERS[kind][0](jax.random.key(seed), params, factors)


@pytest.fixture(scope="module")
def merged(kind, params, factors, draw):
    """Logits and gradient through the dense weights, the oracle of both layouts."""
    (_, logits), grads = run(kind, True, params, factors, draw(1))
    return logits, grads


@pytest.fixture(scope="module", params=[models.stack, models.unroll], ids=["scanned", "unrolled"])
def base(request, params):
    return request.param(params)


def test_model_and_gradient_are_those_of_the_merged_weights(kind, params, base, factors, draw, merged):
    (_, logits), grads = run(kind, False, base, factors, draw(1))
    wanted, wanted_grads = merged
    assert np.abs(wanted - forward(params, CONFIG, TOKENS)).max() > 0.1
    np.testing.assert_allclose(logits, wanted, atol=2e-5)
    assert jax.tree.structure(grads) == jax.tree.structure(draw(1))
    jax.tree.map(lambda g, h: np.testing.assert_allclose(g, h, atol=2e-6), grads, wanted_grads)


def test_every_trained_leaf_has_a_gradient_and_the_scale_none(merged):
    for path, grad in jax.tree_util.tree_leaves_with_path(merged[1]):
        largest = float(jnp.abs(grad).max())
        assert largest == 0 if path[-1].key == "scale" else largest > 1e-5


def test_many_adapters_at_once_are_one_by_one(kind, base, factors, draw):
    adapters = [draw(seed) for seed in range(N)]
    (_, logits), grads = run_many(kind, base, factors, jax.tree.map(lambda *x: jnp.stack(x), *adapters))
    for i, adapter in enumerate(adapters):
        (_, one), one_grads = run(kind, False, base, factors, adapter)
        np.testing.assert_allclose(logits[i], one, atol=2e-5)
        jax.tree.map(lambda g, h, i=i: np.testing.assert_allclose(g[i], h, atol=2e-6), grads, one_grads)


def test_the_base_is_shared_and_not_touched(kind, params, factors, draw):
    joined = ADAPTERS[kind][1](params, factors, draw(1))
    assert joined["norm"]["scale"] is params["norm"]["scale"]
    assert isinstance(params["layers"]["mlp"]["up_proj"]["kernel"], jax.Array)


def test_fresh_lora_is_the_base_model_bit_for_bit(params, base):
    fresh = lora.init(jax.random.key(0), params, rank=2, targets="all")
    np.testing.assert_array_equal(forward(attach(base, fresh), CONFIG, TOKENS), forward(base, CONFIG, TOKENS))


@pytest.mark.parametrize("value", [-2.0, 0.1])
def test_svf_with_equal_raws_is_the_base_weight(params, factors, value):
    level = {path: {"raw": jnp.full_like(f["s"], value)} for path, f in factors.items()}
    joined = materialize(attach(params, level, factors))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6), joined, params)
    plain = materialize(attach(params, level, factors, compose="plain"))["layers"]["mlp"]["up_proj"]["kernel"]
    wanted = params["layers"]["mlp"]["up_proj"]["kernel"] * jax.nn.sigmoid(value)
    np.testing.assert_allclose(plain, wanted, atol=2e-6)


def test_lora_scale_is_alpha_over_rank(params):
    adapter = random_lora(jax.random.key(1), params)
    got = materialize(attach(params, adapter))["layers"]["self_attn"]["q_proj"]["kernel"]
    wanted = params["layers"]["self_attn"]["q_proj"]["kernel"] + 2.0 * adapter[Q]["a"] @ adapter[Q]["b"]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_adapters_stack(params, factors):
    first, second = random_lora(jax.random.key(1), params), random_lora(jax.random.key(2), params)
    both = attach(attach(attach(params, random_svf(jax.random.key(3), factors), factors), first), second)
    weight = both["layers"]["mlp"]["up_proj"]["kernel"]
    assert isinstance(weight, LoRA)
    assert isinstance(weight.base, LoRA)
    assert isinstance(weight.base.base, SVF)


def test_bfloat16_base_runs_with_float32_adapters(params, kind):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    factors = svf.factor(half, "mlp")
    assert factors[UP]["s"].dtype == jnp.float32
    assert factors[UP]["u"].dtype == jnp.bfloat16
    draw, join = ADAPTERS[kind]
    adapter = draw(jax.random.key(1), half, factors)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(adapter)} == {"float32"}
    exact = forward(join(params, svf.factor(params, "mlp"), adapter), CONFIG, TOKENS)
    error = jnp.sqrt(jnp.mean(jnp.square(forward(join(half, factors, adapter), CONFIG, TOKENS) - exact)))
    assert float(error) < 0.03 * float(exact.std())


def entry(params, **changes):
    return {**random_lora(jax.random.key(0), params)[Q], **changes}


@pytest.mark.parametrize(
    ("adapter", "error", "named"),
    [
        (lambda p: {"layers/self_attn/qkv/kernel": entry(p)}, KeyError, ["'qkv' is missing", "q_proj"]),
        (lambda p: {"layers/self_attn/q_proj": entry(p)}, KeyError, ["does not end at a kernel"]),
        (lambda p: {"layers/input_layernorm/scale": entry(p)}, KeyError, ["does not end at a kernel"]),
        (lambda p: {Q + "/kernel": entry(p)}, KeyError, ["nothing below it"]),
        (lambda p: {Q: entry(p, a=jnp.ones((2, 15, 2)))}, ValueError, [Q, "a has shape", "15, 2)", "16, 2)"]),
        (lambda p: {Q: entry(p, b=jnp.ones((2, 3, 16)))}, ValueError, [Q, "b has shape", "3, 16)", "2, 16)"]),
        (lambda p: {Q: entry(p, scale=jnp.ones((2, 1)))}, ValueError, [Q, "scale has shape"]),
        (lambda p: {Q: entry(p, a=jnp.ones((3, 16, 2)))}, ValueError, [Q, "(3, 16, 2)"]),
        (lambda p: {Q: jax.tree.map(lambda x: x[None], entry(p))}, ValueError, [Q, "(1, 2, "]),
        (lambda p: {Q: {"magnitude": jnp.ones(2)}}, ValueError, [Q, "magnitude", "LoRA", "SVF"]),
        (lambda p: {Q: {"raw": jnp.ones((2, 16))}}, KeyError, [Q, "factors", "svf.factor"]),
        (lambda p: {UP: {"raw": jnp.ones((2, 15))}}, ValueError, [UP, "raw has shape", "15", "16"]),
    ],
)
def test_adapter_that_does_not_fit_is_named(params, base, factors, adapter, error, named):
    with pytest.raises(error) as caught:
        attach(base, adapter(params), factors)
    for word in named:
        assert word in str(caught.value)


def test_svf_over_lora_is_refused(params, factors):
    adapted = attach(params, random_lora(jax.random.key(1), params))
    with pytest.raises(ValueError, match="attach SVF first"):
        attach(adapted, random_svf(jax.random.key(2), factors), factors)


def test_unknown_composition_is_refused(params, factors):
    with pytest.raises(ValueError, match="'scaled', 'plain'"):
        attach(params, random_svf(jax.random.key(2), factors), factors, compose="raw")


def test_lora_on_top_of_what_is_held(params):
    """On other weights, or on factors that are added: as if the base had been changed beforehand; both are frozen."""
    lora = adapters.lora.init(jax.random.key(1), params, 2, 4.0, ("q_proj",))
    [(path, entry)] = lora.items()
    entry = {**entry, "b": jnp.ones_like(entry["b"])}
    kernel = adapters.select(params, ("q_proj",))[path]
    held = {
        "held_a": jnp.ones((*kernel.shape[:-1], 3)),
        "held_b": 0.1 * jnp.ones((kernel.shape[0], 3, kernel.shape[2])),
    }
    changed = kernel + held["held_a"] @ held["held_b"]
    found = adapters.materialize(adapters.attach(params, {path: {**entry, **held}}))
    wanted = adapters.materialize(adapters.attach(params, {path: {"value": changed, **entry}}))
    chex.assert_trees_all_close(found, wanted, atol=1e-5)
    on_changed = adapters.attach(
        adapters.materialize(adapters.attach(params, {path: {"value": changed}})), {path: entry}
    )
    chex.assert_trees_all_equal(wanted, adapters.materialize(on_changed))
    assert training.trainable({path: {**entry, **held}}).keys() == {path}
    assert training.trainable({path: {**entry, **held}})[path].keys() == {"a", "b"}
    assert training.trainable({path: {"value": changed}})[path].keys() == {"value"}


@pytest.mark.parametrize("wrong", [{"value": jnp.zeros((1, 2))}, {}, {"held_a": jnp.zeros((1, 2, 3))}])
def test_held_weights_that_do_not_fit(params, wrong):
    [path] = adapters.select(params, ("q_proj",))
    with pytest.raises(ValueError, match="q_proj"):
        adapters.attach(params, {path: wrong})
