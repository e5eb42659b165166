"""RHO-1: which tokens are taken, and the loss of a language model on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import models, training
from seal_jax.continual import losses

CONFIG = models.Config("llama", 23, 16, 24, 2, 2, 1, 8, 64)


def test_the_largest_are_taken_over_the_whole_batch_and_the_first_of_equals():
    excess = jnp.asarray([[3.0, 1.0, 9.0, 1.0], [1.0, 2.0, -1.0, 8.0]])
    mask = jnp.asarray([[True, True, False, True], [True, True, True, False]])
    for share, expected in (
        (1.0, mask),
        (0.5, [[1, 1, 0, 0], [0, 1, 0, 0]]),  # three of six
        (0.6, [[1, 1, 0, 1], [0, 1, 0, 0]]),  # 3.6 of six
        (0.01, [[1, 0, 0, 0], [0, 0, 0, 0]]),
    ):
        np.testing.assert_array_equal(losses.select_tokens(excess, mask, share), np.asarray(expected, bool))
    assert not losses.select_tokens(excess, jnp.zeros_like(mask), 0.5).any()


@pytest.fixture(scope="module")
def model():
    params, reference = (jax.tree.map(lambda x: 4 * x, models.init(jax.random.key(i), CONFIG)) for i in range(2))
    mask = np.ones((2, 3, 8), bool)
    mask[0, 1, 5:] = False
    tokens = np.random.default_rng(0).integers(0, 23, mask.shape).astype(np.int32)
    batches = {"tokens": tokens, "mask": mask, "loss_mask": mask & (np.arange(8) > 1)}
    return params, reference, losses.with_reference(reference, CONFIG, batches)


def test_a_reference_is_asked_once_for_all_steps(model):
    _, reference, batches = model
    for step in range(2):
        expected = training.token_log_probs(reference, CONFIG, batches["tokens"][step], batches["mask"][step])
        np.testing.assert_allclose(batches["reference_log_probs"][step], expected, atol=1e-5)


def test_the_loss_is_the_mean_over_the_tokens_taken_and_so_is_its_gradient(model):
    params, _, batches = model
    batch = {name: jnp.asarray(x[0]) for name, x in batches.items()}

    def expected(params):
        log_probs = training.token_log_probs(params, CONFIG, batch["tokens"], batch["mask"])
        excess = np.asarray(batch["reference_log_probs"] - log_probs)[np.asarray(batch["loss_mask"])]
        least = np.sort(excess)[::-1][round(0.6 * len(excess)) - 1]
        taken = batch["loss_mask"] & (np.asarray(batch["reference_log_probs"] - log_probs) >= least)
        return -jnp.where(jnp.asarray(taken), log_probs, 0.0).sum() / round(0.6 * len(excess))

    found, gradient = jax.value_and_grad(losses.rho1_loss(0.6))(params, CONFIG, batch)
    assert float(found) == pytest.approx(float(expected(params)), rel=1e-5)
    log_probs = training.token_log_probs(params, CONFIG, batch["tokens"], batch["mask"])
    taken = losses.select_tokens(batch["reference_log_probs"] - log_probs, batch["loss_mask"], 0.6)
    direct = jax.grad(lambda p: training.causal_lm(p, CONFIG, {**batch, "loss_mask": taken}))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), gradient, direct)


def test_all_of_the_tokens_are_the_plain_loss_whatever_the_reference(model):
    params, _, batches = model
    batch = {name: jnp.asarray(x[1]) for name, x in batches.items()}
    plain = float(training.causal_lm(params, CONFIG, batch))
    same = {**batch, "reference_log_probs": training.token_log_probs(params, CONFIG, batch["tokens"], batch["mask"])}
    for given in (batch, same):
        assert float(losses.rho1_loss(1.0)(params, CONFIG, given)) == pytest.approx(plain, rel=1e-6)
    assert np.isfinite(losses.rho1_loss(0.3)(params, CONFIG, same)), "ties everywhere"


def test_bad_input(model):
    params, _, batches = model
    with pytest.raises(ValueError, match=r"share=0 of the tokens is not in \(0, 1\]"):
        losses.rho1_loss(0)
    with pytest.raises(ValueError, match=r"pass it through losses\.with_reference first"):
        losses.rho1_loss()(params, CONFIG, {k: x[0] for k, x in batches.items() if "reference" not in k})
