"""Every strategy by name, on a stream of a micro model: it trains, it does something, it gives a plain adapter."""

import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import adapters, models, training
from seal_jax.continual import language, projections, strategies
from seal_jax.continual.projections.olora import OloraState
from seal_jax.continual.run import run
from seal_jax.continual.strategies import Strategy, prepare
from seal_jax.continual.task_stream import Settings, Task
from seal_jax.continual.text_tasks import joined
from seal_jax.training.optim import AdamWState

CONFIG = models.Config("llama", 24, 16, 24, 1, 2, 2, 8, 32)
SETTINGS = Settings(batch_size=4, epochs=3, importance_rows=8)
NAMES = typing.get_args(strategies.Name)


@pytest.fixture(scope="module")
def model():
    params = models.init(jax.random.key(0), CONFIG)
    return models.Model(CONFIG, models.unroll(params), None)


@pytest.fixture(scope="module")
def stream():
    """Two tasks that are against one another: the same prompts, and answers that only one of them has."""
    pairs = [[([1, 3 + i], [first + i]) for i in range(8)] for first in (8, 16)]
    return [Task(f"answers {k}", language.rows(of, length=4)) for k, of in enumerate(pairs)]


@pytest.fixture(scope="module")
def learned(model, stream):
    def learn(name, **settings):
        plan = Strategy(strategy=name, rank=2, targets=("q_proj", "v_proj"), learning_rate=1e-2, **settings)
        tasks = [joined(stream)] if name == "joint" else stream
        prepared = prepare(plan, model, tasks, SETTINGS)
        found = run(prepared.problem, prepared.method, prepared.start, tasks, lambda *_: 0.0, SETTINGS)
        return found, prepared.finished(found.state.params)

    return learn


@pytest.fixture(scope="module")
def naive(learned):
    return learned("naive")[0]


# Trained as naive training is until there is something to protect; O-LoRA's stack has moments of its own after that.
SAME_FIRST = set(NAMES) - {"naive", "joint", "l2_sp", "rec_adam", "lwf"}


@pytest.mark.parametrize("name", NAMES)
def test_strategy(name, model, learned, naive):
    found, adapter = learned(name, **({"memory": 0.5} if name in strategies.REMEMBERING else {}))
    assert np.isfinite(found.losses).all()
    if name in SAME_FIRST:
        np.testing.assert_allclose(found.losses[0], naive.losses[0], rtol=1e-4)
    if name not in ("naive", "joint"):
        assert np.abs(found.losses[-1] - naive.losses[-1]).max() > 1e-5
    assert {frozenset(entry) for entry in adapter.values()} == {frozenset({"a", "b", "scale"})}
    jax.eval_shape(adapters.attach, model.params, adapter)


def test_rec_adam_recalls_and_then_learns_in_every_task_however_short(model, stream):
    """The transform's own t0 of 250 steps would leave tasks of 20 and 60 steps without any gradient."""
    uneven = [stream[0]._replace(epochs=10), stream[1]._replace(epochs=30)]
    prepared = prepare(Strategy(strategy="rec_adam", rank=2, learning_rate=1e-2), model, uneven, SETTINGS)
    found = run(prepared.problem, prepared.method, prepared.start, uneven, lambda *_: 0.0, SETTINGS)
    for losses in found.losses:
        losses = losses[np.isfinite(losses)]
        eighth = len(losses) // 8
        assert losses[-eighth:].mean() < losses[: 2 * eighth].mean() - 0.04
    with pytest.raises(ValueError, match=r"anneal 0.7: use more than 0, and 0.5 at most"):
        Strategy(strategy="rec_adam", anneal=0.7)


def found_in(state, kind):
    """Every part of an optimizer's state of that kind."""
    return [s for s in jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, kind)) if isinstance(s, kind)]


def test_olora_clips_the_gradient_of_the_data_and_not_its_penalty(model, stream):
    prepared = prepare(Strategy(strategy="olora", strength=1e3, rank=2, clip=1.0), model, stream, SETTINGS)
    old = training.trainable(prepared.start)
    now = training.trainable(prepare(Strategy(rank=2), model, stream, Settings(seed=1)).start)
    state = projections.extend_frozen(prepared.method.tx.init(old), old)
    grads = jax.tree.map(lambda x: jnp.full_like(x, 3.0), now)
    _, after = prepared.method.tx.update(grads, state, now)
    (frozen,) = found_in(state, OloraState)
    penalty = jax.grad(lambda p: 1e3 * projections.overlap(p, frozen.cl_frozen))(now)
    norm = optax.global_norm(grads)
    wanted = jax.tree.map(lambda g, p: 0.1 * (g / norm + p), grads, penalty)
    (moments,) = found_in(after, AdamWState)
    assert optax.global_norm(penalty) > 10
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), moments.mean, wanted)


def test_replay_joins_any_other(learned):
    found, _ = learned("ewc", memory=0.5, strength=1.0)
    assert "replay" in found.state.memory


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": 2.0}, "memory 2.0: a share of the stream's examples"),
        ({"strategy": "gem", "memory": 0.0}, "memory 0.0: gem needs one"),
        ({"strategy": "naive", "strength": 1.0}, "strength 1.0: naive has none; ewc, online_ewc"),
        ({"strategy": "ewc", "strength": -1.0}, "strength -1.0: use 0 or more"),
        ({"strategy": "ewc", "strength": float("nan")}, "strength nan: use 0 or more"),
        ({"gamma": 0.0}, "gamma 0.0"),
        ({"learning_rate": 0.0}, "learning_rate 0.0: use more than 0"),
        ({"learning_rate": float("inf")}, "learning_rate inf: use more than 0"),
        ({"rank": 0}, "rank 0: use 1 or more"),
        ({"alpha": 0.0}, "alpha 0.0: use more than 0"),
        ({"clip": -1.0}, "clip -1.0: use 0 or more"),
        ({"weight_decay": float("nan")}, "weight_decay nan: use 0 or more"),
        ({"strategy": "ewc", "strength": float("inf")}, "strength inf: use 0 or more"),
        ({"strategy": "joint", "memory": 0.1}, "memory 0.1: joint learns all tasks at once"),
        ({"strategy": "naive", "memory_rows": 8}, "memory_rows 8: naive has no memory"),
        ({"strategy": "replay", "gamma": 0.9}, "gamma 0.9: replay keeps no importance; ewc, online_ewc, mas, si do"),
        ({"strategy": "ewc", "anneal": 0.1}, "anneal 0.1: ewc anneals nothing; rec_adam does"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Strategy(**settings)
