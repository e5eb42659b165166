"""OGD: directions over a whole tree against NumPy's QR of the flattened gradients."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax.continual import projections

PARAMS = {"w": jnp.zeros((3, 4)), "b": (jnp.zeros(5), None)}


def tree(flat):
    return {"w": flat[..., :12].reshape(*flat.shape[:-1], 3, 4), "b": (flat[..., 12:], None)}


def flat(tree, lead=0):
    return np.concatenate([np.reshape(x, (*x.shape[:lead], -1)) for x in (tree["w"], tree["b"][0])], axis=-1)


def test_updates_lose_what_past_gradients_span():
    """Three gradients of one task and three of the next, of which one is in the span of those before."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(6, 17)).astype(np.float32)
    gradients[4] = gradients[:2].sum(0)
    tx = optax.chain(projections.ogd(8), optax.scale(-1.0))
    state, extend = tx.init(PARAMS), jax.jit(projections.extend_directions)
    for task in (gradients[:3], gradients[3:]):
        state = extend(state, tree(jnp.asarray(task)))
    directions = flat(state[0].cl_directions, lead=1)
    np.testing.assert_allclose(directions @ directions.T, np.diag([1.0] * 5 + [0.0] * 3), atol=1e-5)
    update = rng.normal(size=17).astype(np.float32)
    basis = np.linalg.qr(gradients[[0, 1, 2, 3, 5]].T.astype(np.float64))[0]
    found, _ = tx.update(tree(jnp.asarray(update)), state)
    np.testing.assert_allclose(flat(found), -(update - basis @ (basis.T @ update)), atol=1e-5)
    assert np.abs(flat(found)).max() > 0.1


def test_what_finds_no_room_is_left_out_and_said(caplog):
    gradients = np.eye(17, dtype=np.float32)[:3]
    with caplog.at_level(logging.WARNING):
        state = projections.extend_directions(projections.ogd(2).init(PARAMS), tree(jnp.asarray(gradients)))
    np.testing.assert_allclose(flat(state.cl_directions, lead=1), gradients[:2], atol=1e-6)
    assert "1 directions found no room" in caplog.text


def test_bad_input():
    state = projections.ogd(2).init(PARAMS)
    with pytest.raises(ValueError, match=r"gradients at w: shape \(1, 4, 3\); the parameter needs \(n, 3, 4\)"):
        projections.extend_directions(state, {"w": jnp.zeros((1, 4, 3)), "b": (jnp.zeros((1, 5)), None)})
    with pytest.raises(ValueError, match="not a tree like the parameters"):
        projections.extend_directions(state, {"w": jnp.zeros((1, 3, 4))})
    with pytest.raises(ValueError, match="holds no OgdState"):
        projections.extend_directions(optax.EmptyState(), {})
    with pytest.raises(ValueError, match="directions of 1 or more"):
        projections.ogd(0)
