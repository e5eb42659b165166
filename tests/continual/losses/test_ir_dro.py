"""IR-DRO and MidRanking: weights by their formulas, and the loss of a language model's rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import models, training
from seal_jax.continual import losses

CONFIG = models.Config("llama", 23, 16, 24, 2, 2, 1, 8, 64)


def test_published_weights():
    of = jnp.asarray([1.0, 2.0, 3.0])
    weights = losses.dro_weights(of)
    np.testing.assert_allclose(weights, [0.0900, 0.2447, 0.6652], atol=5e-5)
    assert float((weights * of).sum()) == pytest.approx(2.5752, abs=5e-5)
    np.testing.assert_allclose(losses.dro_weights(of, 1e6), [1 / 3] * 3, atol=1e-5)


def test_padding_has_no_weight_and_weights_no_gradient():
    of = jnp.asarray([1.0, 9.0, 2.0, 3.0])
    mask = jnp.asarray([True, False, True, True])
    np.testing.assert_allclose(losses.dro_weights(of, 1.0, mask), [0.0900, 0, 0.2447, 0.6652], atol=5e-5)
    assert not losses.dro_weights(of, 1.0, jnp.zeros(4, bool)).any()
    gradient = jax.grad(lambda x: (losses.dro_weights(x, 1.0, mask) * x).sum())(of)
    np.testing.assert_allclose(gradient, losses.dro_weights(of, 1.0, mask), rtol=1e-6)


def test_mid_ranking_takes_a_slice_of_the_order():
    of = jnp.asarray([5.0, 1.0, 4.0, 9.0, 3.0])
    mask = jnp.asarray([True, True, True, False, True])
    for place, expected in ((0, [0.5, 0, 0.5, 0, 0]), (1, [0, 0.5, 0, 0, 0.5]), (2, [0] * 5)):
        np.testing.assert_allclose(losses.mid_rank_weights(of, 0.5, place, mask), expected)
    np.testing.assert_allclose(losses.mid_rank_weights(of, 0.01, 3), [0, 0, 0, 0, 1])


def test_rows_of_a_language_model():
    params = jax.tree.map(lambda x: 4 * x, models.init(jax.random.key(0), CONFIG))
    mask = np.ones((4, 8), bool)
    mask[0, 4:] = mask[3] = False
    batch = {
        "tokens": jnp.asarray(np.random.default_rng(0).integers(0, 23, mask.shape), jnp.int32),
        "mask": jnp.asarray(mask),
        "loss_mask": jnp.asarray(mask & (np.arange(8) > 1)),
    }
    each = [float(training.causal_lm(params, CONFIG, {k: x[i : i + 1] for k, x in batch.items()})) for i in range(3)]
    assert np.ptp(each) > 0.1
    weights = np.exp(np.asarray(each) / 0.5) / np.exp(np.asarray(each) / 0.5).sum()
    found = losses.ir_dro_loss(0.5)(params, CONFIG, batch)
    assert float(found) == pytest.approx(float((weights * each).sum()), rel=1e-5)
    middle = losses.mid_rank_loss(share=1 / 3, place=1)(params, CONFIG, batch)
    assert float(middle) == pytest.approx(float(np.median(each)), rel=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="lam=0 must be over 0"):
        losses.ir_dro_loss(0)
    for share, place in ((0.0, 0), (1.5, 0), (0.5, 2), (0.5, -1)):
        with pytest.raises(ValueError, match="is not there"):
            losses.mid_rank_loss(share, place)
