"""O-LoRA: published vectors, three forms against one another, and a stack of frozen adapters in a real fine-tune."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import adapters, models, training
from seal_jax.continual import projections

CONFIG = models.Config("llama", 23, 16, 24, 2, 2, 1, 8, 64)
OLD = np.asarray([[1.0, 0, 0], [0, 1, 0]], np.float32)
NEW = np.asarray([[0.5, 0.5, 0], [0, -1, 2]], np.float32)


def tree(a):
    """The paper's A [r, in] as an adapter's entry in a stack of one layer, with room for the columns of two tasks."""
    return {"path": {"a": jnp.asarray(a.T)[None], "b": jnp.ones((1, 2, 4))}}


def pulled(norm, lam=1.0, **settings):
    """What the transform adds to a gradient of zeros, and its state."""
    tx = projections.olora(lam, 4, norm, **settings)
    state = projections.extend_frozen(tx.init(tree(NEW)), tree(OLD))
    zeros = jax.tree.map(jnp.zeros_like, tree(NEW))
    found, _ = tx.update(zeros, state, tree(NEW))
    return np.asarray(found["path"]["a"][0]).T, found, state


@pytest.mark.parametrize(
    ("norm", "value", "gradient"),
    [("l1", 2.0, [[1, 1, 0], [0, -1, 0]]), ("squared", 1.5, [[1, 1, 0], [0, -2, 0]])],
)
def test_published_vectors(norm, value, gradient):
    found, whole, state = pulled(norm, lam=3.0)
    assert float(projections.overlap(tree(NEW), state.cl_frozen, norm)) == pytest.approx(value)
    np.testing.assert_allclose(found, 3.0 * np.asarray(gradient), atol=1e-6)
    assert not whole["path"]["b"].any()


def test_the_normalised_overlap_is_the_mean_squared_cosine():
    found, _, state = pulled("normalised")
    unit = NEW / np.linalg.norm(NEW, axis=1, keepdims=True)
    expected = ((OLD @ unit.T) ** 2).mean()
    for scale in (1.0, 1e-3, 100.0):  # no reward for an `a` that vanishes
        overlap = projections.overlap(tree(scale * NEW), state.cl_frozen)
        assert float(overlap) == pytest.approx(expected, rel=1e-5)
    formula = lambda a: jnp.mean(jnp.square(OLD @ (a / jnp.linalg.norm(a, axis=1, keepdims=True)).T))  # noqa: E731
    np.testing.assert_allclose(found, jax.grad(formula)(jnp.asarray(NEW)), atol=1e-6)


def test_the_second_weight_is_the_sum_of_norms_and_is_nothing_at_zero():
    found, whole, _ = pulled("l1", lam=0.0, shrink=2.0)
    np.testing.assert_allclose(found, 2.0 * NEW / np.linalg.norm(NEW), atol=1e-6)
    np.testing.assert_allclose(whole["path"]["b"][0], np.full((2, 4), 2.0 / np.sqrt(8)), atol=1e-6)
    tx = projections.olora(1.0, 4, shrink=1.0)
    zeros = jax.tree.map(jnp.zeros_like, tree(NEW))
    found, _ = tx.update(zeros, tx.init(zeros), zeros)
    assert not any(x.any() for x in jax.tree.leaves(found))


def test_projected_steps_have_no_overlap_with_any_earlier_task():
    """After two tasks, under Adam and weight decay, whatever the gradient; and nothing changes before the first one."""
    rng = np.random.default_rng(0)
    draw = lambda: {"path": {"a": jnp.asarray(rng.normal(size=(2, 9, 3)), jnp.float32), "b": jnp.ones((2, 3, 4))}}  # noqa: E731
    first, second, params = draw(), draw(), draw()
    plain = training.adamw(training.Hyper(learning_rate=0.1, steps=9, weight_decay=0.1), training.constant_schedule)
    tx = optax.chain(plain, projections.olora_project(6))
    before = tx.init(params)
    for found, expected in zip(
        *(jax.tree.leaves(t.update(draw_, t.init(params), params)[0]) for t, draw_ in ((tx, first), (plain, first)))
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    state = projections.extend_frozen(projections.extend_frozen(before, first), second)
    updates, _ = tx.update(draw(), state, params)
    new = optax.apply_updates(params, updates)
    old = np.concatenate([first["path"]["a"], second["path"]["a"]], axis=-1)
    np.testing.assert_allclose(np.swapaxes(old, -1, -2) @ np.asarray(new["path"]["a"]), 0, atol=1e-5)
    assert np.linalg.norm(new["path"]["a"]) > 0.1
    assert np.abs(updates["path"]["b"]).min() > 1e-3


def test_a_stack_of_frozen_adapters_is_trained_on():
    """Two tasks through `finetune` with both forms: one program, old factors untouched, new ones orthogonal to them."""
    params = models.init(jax.random.key(0), CONFIG)
    fresh = lambda i: adapters.lora.init(jax.random.key(i), params, rank=2, targets=("q_proj",))  # noqa: E731
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 23, (4, 2, 8)), jnp.int32)
    batches = {"tokens": tokens, "mask": jnp.ones(tokens.shape, bool)}
    hyper, path = training.Hyper(learning_rate=1e-2, steps=4), "layers/self_attn/q_proj/kernel"
    adam = training.adamw(hyper, training.constant_schedule)
    tx = optax.chain(projections.olora(0.5, 4), adam, projections.olora_project(4))
    adapter = projections.room(fresh(1), 4)
    state = training.begin(adapter, hyper, tx)
    state, _ = training.advance(params, CONFIG, state, batches, hyper, tx)
    first = jax.tree.map(jnp.copy, state.adapter[path])
    after = models.forward(adapters.attach(params, state.adapter), CONFIG, tokens[0])
    held = projections.hold(state.adapter, fresh(2))
    np.testing.assert_allclose(models.forward(adapters.attach(params, held), CONFIG, tokens[0]), after, atol=1e-5)
    optimizer = projections.extend_frozen(state.optimizer, training.trainable(state.adapter))
    state = state._replace(adapter=held, optimizer=optimizer, taken=jnp.zeros((), jnp.int32))
    state, _ = training.advance(params, CONFIG, state, batches, hyper, tx)
    entry = state.adapter[path]
    np.testing.assert_array_equal(entry["held_a"][..., :2], first["a"])
    np.testing.assert_array_equal(entry["held_b"][..., :2, :], first["b"] * first["scale"][:, None, None])
    np.testing.assert_allclose(jnp.swapaxes(first["a"], 1, 2) @ entry["a"], 0, atol=1e-5)
    assert np.abs(entry["b"]).max() > 1e-3


def test_bad_input():
    with pytest.raises(ValueError, match="'l2' is not one of 'l1', 'squared', 'normalised'"):
        projections.olora(1.0, 4, "l2")
    for lam in (-1.0, float("nan"), float("inf"), jnp.ones(2), None):
        with pytest.raises(ValueError, match=r"lam=.* must be one finite number at least 0"):
            projections.olora(lam, 4)
    with pytest.raises(ValueError, match="shrink=inf must be one finite number"):
        projections.olora(1.0, 4, shrink=float("inf"))
    with pytest.raises(ValueError, match="columns of 1 or more"):
        projections.olora_project(0)
    tx = projections.olora(1.0, 3)
    state = projections.extend_frozen(tx.init(tree(NEW)), tree(OLD))
    with pytest.raises(ValueError, match="path/a: no room for 1 more; make the transform with more columns than 3"):
        projections.extend_frozen(state, tree(NEW))
    with pytest.raises(ValueError, match="not a tree like the parameters"):
        projections.extend_frozen(state, {"other": jnp.zeros(2)})
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update(tree(NEW), state)
    with pytest.raises(ValueError, match="holds no OloraState or OloraBasis"):
        projections.extend_frozen(optax.EmptyState(), tree(NEW))
    entry = {"p": {"a": jnp.ones((1, 3, 2)), "b": jnp.ones((1, 2, 4)), "scale": jnp.ones(1)}}
    with pytest.raises(ValueError, match="no room for a frozen adapter"):
        projections.hold(entry, entry)
    full = projections.hold(projections.room(entry, 3), entry)
    with pytest.raises(ValueError, match="2 of 3 columns are taken; 2 more do not fit"):
        projections.hold(full, entry)
