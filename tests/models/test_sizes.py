"""Sizes said in advance, against the trees and the compiled programs they speak of."""

import jax
import jax.numpy as jnp
import pytest

from seal_jax import adapters, models, training
from seal_jax.models import sizes

CONFIG = models.Config("llama", 1000, 128, 352, 3, 4, 2, 32, 1024)


@pytest.fixture(scope="module")
def params():
    return sizes.abstract_params(CONFIG)


def test_parameters_are_those_of_init(params):
    real = models.init(jax.random.key(0), CONFIG, "bfloat16")
    assert sizes.count(params) == sum(x.size for x in jax.tree.leaves(real))
    half = sizes.abstract_params(CONFIG, "bfloat16")
    assert jax.tree.map(lambda x: (x.shape, x.dtype), half) == jax.tree.map(lambda x: (x.shape, x.dtype), real)


def test_the_cache_is_that_of_init_cache():
    cache = models.init_cache(CONFIG, 3, 40, "bfloat16")
    assert sizes.cache_bytes(CONFIG, 3, 40, 2) == sum(x.nbytes for x in (*cache.keys, *cache.values))


@pytest.mark.parametrize(("length", "remat"), [(64, False), (256, False), (256, True)])
def test_activations_are_about_what_the_compiler_takes(params, length, remat):
    adapter = jax.eval_shape(lambda key: adapters.lora.init(key, params, 8, 16), jax.random.key(0))

    def loss(adapter, params, batch):
        return training.causal_lm(adapters.attach(params, adapter), CONFIG, batch, remat=remat)

    batch = {"tokens": jax.ShapeDtypeStruct((2, length), jnp.int32), "mask": jax.ShapeDtypeStruct((2, length), bool)}
    taken = jax.jit(jax.grad(loss)).lower(adapter, params, batch).compile().memory_analysis().temp_size_in_bytes
    logits = 2 * 4 * 2 * length * CONFIG.vocab_size
    estimate = sizes.activation_bytes(CONFIG, 2, length, 4, remat) + logits
    assert 0.7 < taken / estimate < 1.3
