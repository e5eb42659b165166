"""DPO against its formula on sequence log-probabilities, and in a fine-tune."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, models, training
from seal_jax.continual import losses

CONFIG = models.Config("llama", 23, 16, 24, 2, 2, 1, 8, 64)


def test_the_loss_of_a_pair_is_the_formula():
    chosen, rejected, of_chosen, of_rejected = (np.asarray([x], np.float32) for x in (-3.0, -5.0, -4.0, -4.5))
    z = 0.2 * ((-3.0 + 4.0) - (-5.0 + 4.5))
    for smoothing in (0.0, 0.1):
        expected = (1 - smoothing) * np.log1p(np.exp(-z)) + smoothing * np.log1p(np.exp(z))
        found = losses.preference_loss(chosen, rejected, of_chosen, of_rejected, 0.2, smoothing)
        np.testing.assert_allclose(found, [expected], rtol=1e-6)


@pytest.fixture(scope="module")
def model():
    """A model and four steps of three pairs, of which the last has no rejected answer in the first step."""
    params = jax.tree.map(lambda x: 4 * x, models.init(jax.random.key(0), CONFIG))
    rng, answers = np.random.default_rng(0), np.broadcast_to(np.arange(8) > 3, (4, 3, 8))
    batches = {}
    for side in ("", "rejected_"):
        tokens = rng.integers(0, 23, (3, 8)).astype(np.int32)
        batches |= {f"{side}tokens": np.broadcast_to(tokens, (4, 3, 8)), f"{side}mask": np.ones((4, 3, 8), bool)}
        batches[f"{side}loss_mask"] = answers
    batches["rejected_loss_mask"] = answers & ~(np.arange(3) == 2)[:, None]
    return params, losses.with_reference(params, CONFIG, batches)


def sums(params, batch, side):
    log_probs = training.token_log_probs(params, CONFIG, batch[f"{side}tokens"], batch[f"{side}mask"])
    return np.asarray(jnp.where(batch[f"{side}loss_mask"], log_probs, 0.0).sum(-1))


def test_the_loss_of_a_batch_is_the_mean_over_its_pairs(model):
    params, batches = model
    batch = {name: jnp.asarray(x[0]) for name, x in batches.items()}
    new = jax.tree.map(lambda x: 1.1 * x, params)
    sides = [sums(p, batch, side)[:2] for p in (new, params) for side in ("", "rejected_")]
    z = 0.3 * ((sides[0] - sides[2]) - (sides[1] - sides[3]))
    assert float(losses.dpo_loss(0.3)(new, CONFIG, batch)) == pytest.approx(np.log1p(np.exp(-z)).mean(), rel=1e-4)
    assert float(losses.dpo_loss(0.3)(params, CONFIG, batch)) == pytest.approx(np.log(2), rel=1e-5)
    assert float(losses.dpo_loss().weight(batch)) == 2.0


def test_a_fine_tune_prefers_the_chosen_answers(model):
    """Through `finetune`, with the rows of a step in parts of one pair each: it is the same fine-tune."""
    params, batches = model
    adapter = adapters.lora.init(jax.random.key(1), params, rank=2, alpha=8)
    hyper = training.Hyper(learning_rate=3e-2, steps=4)
    run = lambda parts: training.finetune(  # noqa: E731
        params, CONFIG, adapter, batches, hyper, loss_fn=losses.dpo_loss(1.0), accumulate=parts
    )
    (tuned, metrics), (parted, _) = run(1), run(3)
    assert float(metrics["loss"][0]) == pytest.approx(np.log(2), rel=1e-5)
    assert float(metrics["loss"][-1]) < 0.5
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), tuned, parted)
    batch = {name: jnp.asarray(x[0]) for name, x in batches.items()}
    attached = adapters.attach(params, tuned)
    margin = lambda p: sums(p, batch, "") - sums(p, batch, "rejected_")  # noqa: E731
    assert np.all((margin(attached) > margin(params))[:2])


def test_bad_input(model):
    params, batches = model
    for settings in ({"beta": 0.0}, {"smoothing": 0.5}):
        with pytest.raises(ValueError, match="DPO takes beta over 0 and smoothing"):
            losses.dpo_loss(**settings)
    batch = {name: x[0] for name, x in batches.items()}
    for name, message in (
        ("rejected_tokens", "needs 'rejected_tokens'"),
        ("reference_log_probs", "with_reference adds"),
    ):
        with pytest.raises(ValueError, match=message):
            losses.dpo_loss()(params, CONFIG, {k: x for k, x in batch.items() if k != name})
