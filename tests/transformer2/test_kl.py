"""Both directions, exact against NumPy; of the estimates, the expectation of value and of gradient over all tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax.transformer2 import kl

V = 7
LOGITS = np.random.default_rng(0).normal(0, 1.5, (2, 3, V))


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


POLICY, REFERENCE = (log_softmax(x).astype(np.float32) for x in LOGITS)


def oracle(policy, reference, direction):
    p, q = (np.exp(np.float64(x)) for x in (policy, reference))
    return (q * np.log(q / p)).sum(-1) if direction == "forward" else (p * np.log(p / q)).sum(-1)


@pytest.mark.parametrize("direction", kl.DIRECTIONS)
def test_exact(direction):
    found = kl.exact(jnp.asarray(POLICY), jnp.asarray(REFERENCE), direction)
    np.testing.assert_allclose(found, oracle(POLICY, REFERENCE, direction), rtol=1e-5)
    assert np.abs(kl.exact(jnp.asarray(POLICY), jnp.asarray(POLICY), direction)).max() < 1e-6


def test_directions_differ():
    one, other = (oracle(POLICY, REFERENCE, d) for d in kl.DIRECTIONS)
    assert np.abs(one - other).min() > 0.01


@pytest.mark.parametrize("direction", kl.DIRECTIONS)
def test_a_token_of_no_probability_counts_nothing(direction):
    barred = jnp.asarray(np.where(np.arange(V) == 3, -np.inf, POLICY)).astype(jnp.float32)
    value, gradient = jax.value_and_grad(lambda x: kl.exact(x, barred, direction)[0])(barred)
    assert np.isfinite(value)
    assert np.isfinite(np.delete(np.asarray(gradient), 3, -1)).all()


@pytest.mark.parametrize("direction", kl.DIRECTIONS)
def test_an_estimate_means_the_divergence_and_its_gradient(direction):
    """Summed over all tokens, each as often as the policy draws it: value and gradient are those of `exact`."""
    drawn = jnp.exp(jnp.asarray(POLICY))

    def estimated(logits):
        new = jax.nn.log_softmax(logits)
        return (drawn * kl.sampled(new, jnp.asarray(REFERENCE), direction)).sum()

    def exact(logits):
        return kl.exact(jax.nn.log_softmax(logits), jnp.asarray(REFERENCE), direction).sum()

    logits = jnp.asarray(LOGITS[0], jnp.float32)
    for found, wanted in zip(jax.value_and_grad(estimated)(logits), jax.value_and_grad(exact)(logits)):
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)
    assert np.min(kl.sampled(jnp.asarray(POLICY), jnp.asarray(REFERENCE), direction)) >= 0
