"""AdamW against a float64 loop, and the schedule and clipping at their edges."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import adamw as oracle

from seal_jax import training
from seal_jax.training.optim import clip_factor

STEPS = 12


@jax.jit
def run(params, gradients, hyper):
    tx = training.adamw(hyper)

    def step(state, grads):
        params, optimizer = state
        updates, optimizer = tx.update(grads, optimizer, params)
        params = optax.apply_updates(params, updates)
        return (params, optimizer), params

    return jax.lax.scan(step, (params, tx.init(params)), gradients)[1]


@pytest.mark.parametrize(
    ("warmup", "weight_decay", "clip"),
    [(0, 0.0, 1.0), (4, 0.1, 0.0), (0, 0.01, np.inf), (3, 0.0, 0.05), (11, 0.1, 1.0)],
)
def test_adamw_is_the_float64_loop(warmup, weight_decay, clip):
    rng = np.random.default_rng(0)
    params = [rng.normal(size=(3, 4)), rng.normal(size=(5,))]
    gradients = [rng.normal(size=(STEPS, 3, 4)), 1e-4 * rng.normal(size=(STEPS, 5))]
    hyper = training.Hyper(*(jnp.float32(x) for x in (1e-2, STEPS, warmup, weight_decay, clip, 0)))
    ours = run(*jax.tree.map(jnp.float32, (params, gradients)), hyper)
    by_step = [[g[t] for g in gradients] for t in range(STEPS)]
    theirs = oracle.train(params, by_step, 1e-2, STEPS, warmup, weight_decay, clip)
    for t in range(STEPS):
        for leaf, expected in zip(ours, theirs[t]):
            np.testing.assert_allclose(leaf[t], expected, atol=2e-6)


@settings(max_examples=50, deadline=None)
@given(steps=st.integers(1, 300), data=st.data())
def test_schedule_is_the_formula(steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    step = data.draw(st.integers(0, steps - 1))
    hyper = training.Hyper(jnp.float32(1e-3), jnp.int32(steps), jnp.int32(warmup))
    rate = training.linear_schedule(hyper, jnp.int32(step))
    np.testing.assert_allclose(rate, oracle.learning_rate(1e-3, step, steps, warmup), rtol=1e-5, atol=1e-10)


def test_the_rates_of_the_reference_log():
    """SEAL's issue 3 prints 3.125e-4 after 55 of 80 steps from 1e-3."""
    hyper = training.Hyper(jnp.float32(1e-3), jnp.int32(80))
    np.testing.assert_allclose(training.linear_schedule(hyper, jnp.int32(55)), 3.125e-4, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(steps=st.integers(1, 300), data=st.data())
def test_cosine_schedule_is_the_formula(steps, data):
    """Warm-up may be longer than the fine-tune, as in SEAL's ARC runs with few sequences."""
    warmup, step = data.draw(st.integers(0, 320)), data.draw(st.integers(0, steps - 1))
    hyper = training.Hyper(jnp.float32(1e-3), jnp.int32(steps), jnp.int32(warmup))
    wanted = step / warmup if step < warmup else 0.5 * (1 + np.cos(np.pi * (step - warmup) / (steps - warmup)))
    np.testing.assert_allclose(training.cosine_schedule(hyper, jnp.int32(step)), 1e-3 * wanted, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("norm", "clip", "factor"),
    [(2.0, 1.0, 0.5), (0.5, 1.0, 1.0), (2.0, 0.0, 1.0), (2.0, np.inf, 1.0), (2.0, -1.0, 1.0), (0.0, 1.0, 1.0)],
)
def test_clip_factor(norm, clip, factor):
    np.testing.assert_allclose(clip_factor(jnp.float32(norm), jnp.float32(clip)), factor, rtol=1e-6)
