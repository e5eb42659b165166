"""What the transforms count on in optax and flax, so that a version in which it is not so is seen at once."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState


@pytest.fixture(autouse=True)
def standard():
    """optax multiplies floats by counts."""
    with jax.numpy_dtype_promotion("standard"):
        yield


PARAMS = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([3.0])}
GRADIENTS = {"a": jnp.array([0.5, 0.25]), "b": jnp.array([-1.0])}


class Seen(NamedTuple):
    """What the last update was given."""

    cl_memory: Any


def listening():
    """Keeps the extra argument `memory`, -1 where there is none."""

    def init(params):
        return Seen(jnp.float32(0.0))

    def update(updates, state, params=None, **extra):
        return updates, Seen(jnp.float32(extra.get("memory", -1.0)))

    return optax.GradientTransformationExtraArgs(init, update)


LABELS = {"a": "one", "b": "two"}
WRAPPERS = {
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(9.0), tx, optax.scale(-1.0)),
    "named_chain": lambda tx: optax.named_chain(("first", tx), ("then", optax.scale(-1.0))),
    "masked": lambda tx: optax.masked(tx, {"a": True, "b": False}),
    "partition": lambda tx: optax.partition({"one": tx, "two": optax.set_to_zero()}, LABELS),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 1),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 1),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_hand_extra_arguments_on_and_fields_are_found_in_them(name):
    tx = WRAPPERS[name](listening())
    _, state = tx.update(GRADIENTS, tx.init(PARAMS), PARAMS, memory=5.0)
    assert optax.tree.get(state, "cl_memory") == 5.0
    state = optax.tree.set(state, cl_memory=jnp.float32(7.0))
    assert optax.tree.get(state, "cl_memory") == 7.0


def test_multi_steps_gives_the_mean_gradient_and_the_last_extra_arguments():
    tx = optax.MultiSteps(optax.chain(listening(), optax.sgd(1.0)), 2)
    first, state = tx.update(GRADIENTS, tx.init(PARAMS), PARAMS, memory=1.0)
    assert all((x == 0).all() for x in jax.tree.leaves(first))
    twice = jax.tree.map(lambda g: 3.0 * g, GRADIENTS)
    second, state = tx.update(twice, state, PARAMS, memory=2.0)
    jax.tree.map(lambda u, g: np.testing.assert_allclose(u, -2.0 * g), second, GRADIENTS)
    assert optax.tree.get(state, "cl_memory") == 2.0


def test_a_field_that_two_states_have_is_no_longer_one():
    state = optax.chain(listening(), listening()).init(PARAMS)
    with pytest.raises(KeyError):
        optax.tree.get(state, "cl_memory")


def test_flax_train_state_keeps_extra_arguments_to_itself_and_nnx_hands_them_on():
    train = TrainState.create(apply_fn=nn.Dense(1).apply, params=PARAMS, tx=listening())
    with pytest.raises(TypeError, match="memory"):
        train.apply_gradients(grads=GRADIENTS, memory=5.0)
    assert train.apply_gradients(grads=GRADIENTS).opt_state.cl_memory == -1.0
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, listening(), wrt=nnx.Param)
    optimizer.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.Param)), memory=jnp.float32(5.0))
    assert optax.tree.get(nnx.to_pure_dict(nnx.state(optimizer)), "cl_memory") == 5.0


def test_updates_have_the_gradients_sign_before_the_learning_rate_and_the_steps_after():
    scaled, _ = optax.scale_by_adam().update(GRADIENTS, optax.scale_by_adam().init(PARAMS), PARAMS)
    jax.tree.map(lambda u, g: np.testing.assert_array_equal(jnp.sign(u), jnp.sign(g)), scaled, GRADIENTS)
    tx = optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(0.1))
    steps, _ = tx.update(GRADIENTS, tx.init(PARAMS), PARAMS)
    jax.tree.map(lambda u, s: np.testing.assert_allclose(s, -0.1 * u, rtol=1e-6), scaled, steps)


@pytest.mark.parametrize("first", [False, True])
def test_set_to_zero_holds_parameters_only_if_it_comes_last(first):
    """Decay moves parameters that are frozen before it."""
    parts = [optax.set_to_zero(), optax.add_decayed_weights(0.1)]
    tx = optax.chain(*(parts if first else parts[::-1]))
    updates, _ = tx.update(GRADIENTS, tx.init(PARAMS), PARAMS)
    assert all((u == 0).all() for u in jax.tree.leaves(updates)) != first


def test_clipping_after_a_pull_clips_both_together():
    pull = {"a": jnp.array([100.0, 0.0]), "b": jnp.array([0.0])}
    clip = optax.clip_by_global_norm(1.0)
    both, _ = clip.update(jax.tree.map(jnp.add, GRADIENTS, pull), clip.init(PARAMS))
    assert abs(both["b"][0]) < 0.02 < abs(clip.update(GRADIENTS, clip.init(PARAMS))[0]["b"][0])


def test_masked_leaves_are_no_leaves():
    state = optax.masked(optax.trace(0.9), {"a": True, "b": False}).init(PARAMS)
    assert isinstance(state.inner_state.trace["b"], optax.MaskedNode)
    assert len(jax.tree.leaves(state)) == 1


def test_schedules_see_the_count_from_zero():
    tx = optax.scale_by_schedule(lambda count: count + 10)
    updates, state = tx.update(GRADIENTS, tx.init(PARAMS))
    np.testing.assert_array_equal(updates["b"], 10 * GRADIENTS["b"])
    assert state.count == 1
