"""Freezing: masks of all shapes, outermost behind weight decay; masks from importances."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import training
from seal_jax.continual import projections

PARAMS = {"stack": jnp.ones((3, 2, 2)), "rows": jnp.ones((4, 2)), "on": {"w": jnp.ones(3)}, "off": {"w": jnp.ones(3)}}


def test_what_is_frozen_does_not_move():
    """Some layers of a stack, some rows, a whole subtree; not even by weight decay, and not for a NaN."""
    frozen = {
        "stack": np.asarray([True, False, True])[:, None, None],
        "rows": np.asarray([False, True, False, False])[:, None],
        "on": False,
        "off": True,
    }
    hyper = training.Hyper(learning_rate=0.1, steps=9, weight_decay=0.5)
    tx = optax.chain(training.adamw(hyper), projections.freeze_mask(frozen))
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    moved = lambda x: (np.asarray(x) != 0).reshape(len(x), -1)[:, 0].tolist()  # noqa: E731
    assert moved(updates["stack"]) == [False, True, False]
    assert moved(updates["rows"]) == [True, False, True, True]
    assert moved(updates["on"]["w"]) == [True] * 3
    assert moved(updates["off"]["w"]) == [False] * 3
    alone = projections.freeze_mask(frozen)
    updates, _ = alone.update(jax.tree.map(lambda x: jnp.nan * x, PARAMS), optax.EmptyState())
    np.testing.assert_array_equal(updates["off"]["w"], np.zeros(3))
    assert np.isnan(updates["on"]["w"]).all()


def test_a_mask_in_the_state_is_ones_until_it_is_set():
    tx = optax.chain(optax.sgd(1.0), projections.grad_mask())
    params = {"w": jnp.ones(3, jnp.bfloat16), "b": jnp.ones(2)}
    state = tx.init(params)
    np.testing.assert_array_equal(tx.update(params, state)[0]["w"], -params["w"])
    state = projections.set_grad_mask(state, {"w": jnp.asarray([0.0, 0.5, 1.0]), "b": jnp.zeros(2)})
    updates, _ = tx.update(params, state)
    assert updates["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(updates["w"].astype(jnp.float32), [0.0, -0.5, -1.0])
    np.testing.assert_array_equal(updates["b"], [0.0, 0.0])


def test_masks_from_importances_rank_the_whole_tree():
    importance = {"w": jnp.asarray([[1.0, 8.0], [3.0, 0.0]]), "b": jnp.asarray([4.0, 2.0])}
    hard = projections.mask_from_importance(importance, 1 / 3)
    np.testing.assert_array_equal(hard["w"], [[1, 0], [1, 1]])
    np.testing.assert_array_equal(hard["b"], [0, 1])
    soft = projections.mask_from_importance(importance, 1 / 3, soft=True)
    np.testing.assert_allclose(soft["w"], [[0.75, 0], [0.25, 1]])
    np.testing.assert_allclose(soft["b"], [0, 0.5])
    for share, expected in ((0.0, 1.0), (1.0, 0.0)):
        np.testing.assert_array_equal(
            projections.mask_from_importance(importance, share)["w"], np.full((2, 2), expected)
        )


def test_bad_input():
    state = projections.grad_mask().init({"w": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"the mask at w: shape \(2,\); the parameter needs \(3,\)"):
        projections.set_grad_mask(state, {"w": jnp.ones(2)})
    with pytest.raises(ValueError, match="holds no GradMaskState"):
        projections.set_grad_mask(optax.EmptyState(), {"w": jnp.ones(2)})
