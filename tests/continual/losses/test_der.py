"""DER and DER++ on stored logits, against NumPy and against the losses they are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import models, training
from seal_jax.continual import losses

CONFIG = models.Config("llama", 23, 16, 24, 2, 2, 1, 8, 64)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_distances_are_their_formulas():
    rng = np.random.default_rng(0)
    logits, stored = rng.normal(size=(4, 9)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    ids = np.asarray([[8, 0, 3], [1, 2, 5], [0, 1, 2], [7, 6, 5]], np.int32)
    now = np.take_along_axis(logits, ids, -1)
    mask = np.asarray([True, True, False, True])
    assert float(losses.topk_mse(logits, ids, stored, mask)) == pytest.approx(
        ((now - stored) ** 2)[mask].mean(), rel=1e-5
    )
    p, q = log_softmax(stored), log_softmax(now)
    kl = (np.exp(p) * (p - q)).sum(-1)
    assert float(losses.topk_kl(logits, ids, stored)) == pytest.approx(kl.mean(), rel=1e-5)
    assert float(losses.topk_kl(logits + 5.0, ids, stored)) == pytest.approx(kl.mean(), rel=1e-4)
    full = rng.normal(size=(4, 9)).astype(np.float32)
    assert float(losses.topk_mse(logits, None, full)) == pytest.approx(((logits - full) ** 2).mean(), rel=1e-5)


@pytest.fixture(scope="module")
def model():
    """A model, what it was when the examples were stored, and a batch of six rows, two of each role."""
    before, params = (jax.tree.map(lambda x: 4 * x, models.init(jax.random.key(i), CONFIG)) for i in range(2))
    rng = np.random.default_rng(0)
    mask = np.ones((6, 7), bool)
    mask[1, 4:] = mask[3, 5:] = False
    batch = {
        "tokens": jnp.asarray(rng.integers(0, 23, mask.shape).astype(np.int32)),
        "mask": jnp.asarray(mask),
        "loss_mask": jnp.asarray(mask & (np.arange(7) > 2)),
        "role": jnp.broadcast_to(jnp.repeat(jnp.arange(3, dtype=jnp.int32), 2)[:, None], (6, 7)),
    }
    ids, logits = losses.top_logits(before, CONFIG, batch, k=5)
    return before, params, {**batch, "topk_ids": ids, "topk_logits": logits}


def rows(batch, start, stop):
    return {name: x[start:stop] for name, x in batch.items()}


def test_stored_logits_are_the_largest_for_each_token_given_its_prefix(model):
    before, _, batch = model
    logits = np.asarray(models.forward(before, CONFIG, batch["tokens"], batch["mask"]))
    expected = np.sort(logits, -1)[..., ::-1][..., :5]
    np.testing.assert_allclose(batch["topk_logits"][:, 1:], expected[:, :-1], atol=1e-5)
    np.testing.assert_allclose(
        np.take_along_axis(logits[:, :-1], np.asarray(batch["topk_ids"])[:, 1:], -1), expected[:, :-1], atol=1e-5
    )
    ids, kept = losses.top_logits(before, CONFIG, batch, k=5, chunk=2)
    np.testing.assert_array_equal(ids, batch["topk_ids"])
    np.testing.assert_allclose(kept, batch["topk_logits"], atol=1e-5)


@pytest.mark.parametrize("distance", ["mse", "kl"])
def test_the_loss_is_the_sum_of_its_three_means(model, distance):
    _, params, batch = model
    one = rows(batch, 2, 4)
    logits = models.forward(params, CONFIG, one["tokens"], one["mask"])[:, :-1]
    term = {"mse": losses.topk_mse, "kl": losses.topk_kl}[distance]
    apart = term(logits, one["topk_ids"][:, 1:], one["topk_logits"][:, 1:], one["loss_mask"][:, 1:])
    expected = (
        training.causal_lm(params, CONFIG, rows(batch, 0, 2))
        + 0.3 * apart
        + 0.5 * training.causal_lm(params, CONFIG, rows(batch, 4, 6))
    )
    assert float(apart) > 1e-3
    for chunk in (None, 2):
        found = losses.der_loss(0.3, 0.5, distance, chunk=chunk)(params, CONFIG, batch)
        assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_without_rows_of_a_role_its_term_is_nothing(model):
    _, params, batch = model
    found = losses.der_loss()(params, CONFIG, rows(batch, 0, 2))
    assert float(found) == pytest.approx(float(training.causal_lm(params, CONFIG, rows(batch, 0, 2))), rel=1e-6)


def test_the_distance_is_nothing_where_the_model_has_not_changed(model):
    before, _, batch = model
    gradient = jax.grad(lambda p: losses.der_loss(alpha=1.0)(p, CONFIG, rows(batch, 2, 4)))(before)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) < 1e-5


def test_bad_input(model):
    before, _, batch = model
    with pytest.raises(ValueError, match="distance 'mse' or 'kl'"):
        losses.der_loss(distance="l1")
    with pytest.raises(ValueError, match="alpha, beta >= 0"):
        losses.der_loss(alpha=-1.0)
    with pytest.raises(ValueError, match="vocabulary of 23"):
        losses.top_logits(before, CONFIG, batch, k=24)
