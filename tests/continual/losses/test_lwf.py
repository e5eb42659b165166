"""Learning without forgetting: the divergence against NumPy, and the loss of a language model by its own fine-tune."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, models, training
from seal_jax.continual import losses

CONFIG = models.Config("llama", 23, 16, 24, 2, 2, 1, 8, 64)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def params():
    return models.init(jax.random.key(0), CONFIG)


@pytest.fixture(scope="module")
def adapter(params):
    fresh = adapters.lora.init(jax.random.key(1), params, rank=2, alpha=4)
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape), fresh)


@pytest.fixture(scope="module")
def batch():
    mask = np.ones((1, 3, 8), bool)
    mask[0, 0, 5:] = False
    targets = mask & (np.arange(8) > 3)
    tokens = np.random.default_rng(0).integers(0, 23, mask.shape).astype(np.int32)
    return {"tokens": jnp.asarray(tokens), "mask": jnp.asarray(mask), "loss_mask": jnp.asarray(targets)}


def test_divergence_is_the_formula_and_its_gradient_is_at_the_new_logits_alone():
    rng = np.random.default_rng(0)
    old, new = (rng.normal(size=(5, 7)).astype(np.float32) for _ in range(2))
    p, q = softmax(old / 2), softmax(new / 2)
    np.testing.assert_allclose(losses.divergence(old, new, 2.0), 4 * (p * np.log(p / q)).sum(-1), rtol=1e-4)
    mean = lambda old, new: losses.distillation(old, new, 2.0, jnp.arange(5) < 3)  # noqa: E731
    assert float(mean(old, new)) == pytest.approx((4 * (p * np.log(p / q)).sum(-1))[:3].mean(), rel=1e-5)
    of_old, of_new = jax.grad(mean, argnums=(0, 1))(old, new)
    np.testing.assert_allclose(of_new[:3], 2 * (q - p)[:3] / 3, atol=1e-6)
    assert not of_old.any()
    assert not of_new[3:].any()
    assert float(losses.distillation(old, old, 2.0)) == pytest.approx(0.0, abs=1e-6)


def test_the_loss_is_the_task_s_and_the_distance_to_the_teacher(params, adapter, batch):
    first = jax.tree.map(lambda x: x[0], batch)
    student = jax.tree.map(lambda x: 1.5 * x, adapter)
    taught = losses.attach_taught(params, losses.teach(student, adapter))
    new, old = (
        models.forward(adapters.attach(params, a), CONFIG, first["tokens"], first["mask"]) for a in (student, adapter)
    )
    expected = training.causal_lm(taught.student, CONFIG, first) + 3.0 * losses.distillation(
        old, new, 1.5, first["mask"]
    )
    for chunk in (None, 4):
        found = losses.lwf_loss(alpha=3.0, temperature=1.5, chunk=chunk)(taught, CONFIG, first)
        assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert float(expected) > float(training.causal_lm(taught.student, CONFIG, first)) + 1e-3


def test_fine_tunes_leave_the_teacher_alone_and_stay_closer_to_it(params, adapter, batch):
    """Two fine-tunes at once on one step repeated; trees with and without earlier teachers are the same."""
    taught = losses.teach(losses.teach(adapter))
    assert jax.tree.structure(taught) == jax.tree.structure(losses.teach(adapter))
    two = jax.tree.map(lambda x: jnp.stack([x, x]), taught)
    batches = jax.tree.map(lambda x: jnp.broadcast_to(x, (2, 6, *x.shape[1:])), batch)
    hyper = training.Hyper(learning_rate=2e-2, steps=6)

    def moved(alpha):
        loss = losses.lwf_loss(alpha=alpha)
        found, metrics = training.finetune_batch(
            params, CONFIG, two, batches, hyper, loss_fn=loss, attach_fn=losses.attach_taught
        )
        jax.tree.map(
            np.testing.assert_array_equal,
            {path: entry["teacher"] for path, entry in found.items()},
            {path: entry["teacher"] for path, entry in two.items()},
        )
        after = jax.tree.map(lambda x: x[0], losses.untaught(found))
        old, new = (
            models.forward(adapters.attach(params, a), CONFIG, batch["tokens"][0], batch["mask"][0])
            for a in (adapter, after)
        )
        assert np.asarray(metrics["loss"])[0, -1] < np.asarray(metrics["loss"])[0, 0] or alpha > 1
        return float(losses.distillation(old, new, 1.0, batch["mask"][0]))

    assert moved(50.0) < 0.3 * moved(0.0)


def test_training_all_weights_has_the_old_weights_as_the_teacher(params, batch):
    first = jax.tree.map(lambda x: x[0], batch)
    changed = jax.tree.map(lambda x: 1.1 * x, params)
    taught = losses.attach_taught_in_full(params, changed)
    new, old = (models.forward(p, CONFIG, first["tokens"], first["mask"]) for p in (changed, params))
    expected = training.causal_lm(changed, CONFIG, first) + losses.distillation(old, new, 2.0, first["mask"])
    assert float(losses.lwf_loss()(taught, CONFIG, first)) == pytest.approx(float(expected), rel=1e-5)


def test_bad_input(params, adapter):
    with pytest.raises(ValueError, match=r"no teacher: make the adapter with losses\.teach"):
        losses.attach_taught(params, adapter)
    with pytest.raises(ValueError, match="must be the same"):
        losses.teach(adapter, dict(list(adapter.items())[:1]))
    with pytest.raises(ValueError, match="is no LoRA entry"):
        losses.teach({"path": {"raw": jnp.zeros((2, 3))}})
    for settings in ({"alpha": -1.0}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match="LwF takes alpha of 0 or more"):
            losses.lwf_loss(**settings)
