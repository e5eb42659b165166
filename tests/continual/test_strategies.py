"""Every strategy by name, on a stream of a micro model: it trains, it does something, it gives a plain adapter."""

import typing

import jax
import numpy as np
import pytest

from seal_jax import adapters, models
from seal_jax.continual import language, strategies
from seal_jax.continual.run import run
from seal_jax.continual.strategies import Strategy, prepare
from seal_jax.continual.task_stream import Settings, Task
from seal_jax.continual.text_tasks import joined

CONFIG = models.Config("llama", 24, 16, 24, 1, 2, 2, 8, 32)
SETTINGS = Settings(batch_size=4, epochs=3, importance_rows=8)
NAMES = typing.get_args(strategies.Name)


@pytest.fixture(scope="module")
def model():
    params = models.init(jax.random.key(0), CONFIG)
    return models.Model(CONFIG, models.unroll(params), None)


@pytest.fixture(scope="module")
def stream():
    pairs = [[([1, 3 + i], [12 + (i + shift) % 8, 2]) for i in range(8)] for shift in (0, 3)]
    return [Task(f"shift {k}", language.rows(of, length=4)) for k, of in enumerate(pairs)]


@pytest.fixture(scope="module")
def learned(model, stream):
    def learn(name, **settings):
        plan = Strategy(strategy=name, rank=2, targets=("q_proj", "v_proj"), learning_rate=1e-2, **settings)
        tasks = [joined(stream)] if name == "joint" else stream
        prepared = prepare(plan, model, tasks, SETTINGS.batch_size)
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
        ({"rank": 0}, "rank 0: use 1 or more"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Strategy(**settings)
