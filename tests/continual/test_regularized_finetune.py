"""Regularizers under the fine-tune of a language model: N adapters at once, task after task, in one program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import adapters, continual, models, training
from seal_jax.training.finetune import _compiled_segment

CONFIG = models.Config("llama", 31, 16, 24, 2, 2, 1, 8, 64)
N, TASKS, S, B, T = 2, 2, 6, 2, 8
HYPER = training.Hyper(np.array([1e-2, 3e-2]), TASKS * S)
KEY = jax.random.key(0)


def regularized(hyper):
    """The rate of the pull is the optimizer's own: its peak and its decay are those of each fine-tune."""
    rate = functools.partial(training.linear_schedule, hyper)
    return optax.chain(training.adamw(hyper), continual.ewc(1000.0, rate))


def intelligent(hyper):
    return continual.si(training.adamw(hyper), 50.0, functools.partial(training.linear_schedule, hyper))


def unregularized(hyper):
    return continual.si(training.adamw(hyper), 0.0)


@pytest.fixture(scope="module")
def given():
    params = models.init(KEY, CONFIG)
    starts = [adapters.lora.init(jax.random.key(i), params, rank=2, targets=("q_proj", "down_proj")) for i in range(N)]
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 31, (TASKS, N, S, B, T), np.int32)
    tokens[:] = tokens[:, :1, :1, :1]  # a task is one text
    batches = [{"tokens": x, "mask": np.ones(x.shape, bool)} for x in tokens]
    return params, jax.tree.map(lambda *x: jnp.stack(x), *starts), batches


def stream(given, tx, hyper, batched, which=slice(None), importance=True):
    """Both tasks; after the first its importance is consolidated. The adapters after each, and the last metrics."""
    params, adapter, batches = given
    adapter, batches = jax.tree.map(lambda x: x[which], (adapter, batches))

    def consolidated(state, seen):
        weights = None
        if importance:
            weights = continual.fisher(params, CONFIG, seen, KEY, "empirical", adapter=state.adapter)
        optimizer = continual.consolidate(state.optimizer, training.trainable(state.adapter), weights)
        return state._replace(optimizer=optimizer)

    state = training.begin(adapter, hyper, tx, batched=batched)
    found = []
    for task in range(TASKS):
        if task:
            state = (jax.vmap(consolidated) if batched else consolidated)(state, batches[task - 1])
        state, metrics = training.advance(params, CONFIG, state, batches[task], hyper, tx, batched=batched)
        found.append(jax.tree.map(np.asarray, state.adapter))
    return found, metrics, state


def distance(one, other):
    squares = jax.tree.map(lambda a, b: np.square(a - b).sum(tuple(range(1, a.ndim))), one, other)
    return np.sqrt(sum(jax.tree.leaves(squares)))


@pytest.mark.parametrize("tx", [regularized, intelligent])
def test_adapters_at_once_keep_nearer_to_the_first_task_and_are_adapters_one_by_one(given, tx):
    importance = tx is regularized
    traced = _compiled_segment._cache_size()
    found, metrics, state = stream(given, tx, HYPER, True, importance=importance)
    assert _compiled_segment._cache_size() == traced + 1, "one program for all tasks, importance or none"
    for i in range(N):
        hyper = HYPER._replace(learning_rate=float(HYPER.learning_rate[i]))
        alone, its_metrics, _ = stream(given, tx, hyper, False, i, importance)
        np.testing.assert_allclose(metrics["loss"][i], its_metrics["loss"], atol=1e-5)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-4), found[1], alone[1])
    penalties = jax.vmap(continual.penalty)(state.optimizer, training.trainable(state.adapter))
    assert (penalties > 0).all()
    free, free_metrics, _ = stream(
        given, lambda hyper: continual.si(training.adamw(hyper), 0.0), HYPER, True, importance=False
    )
    assert (distance(*found) < 0.8 * distance(*free)).all()
    assert (metrics["loss"][:, -1] < metrics["loss"][:, 0]).all(), "and still learn the second task"
    assert (free_metrics["loss"][:, -1] < metrics["loss"][:, -1]).all()
