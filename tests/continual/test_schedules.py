"""Learning rates over a stream of tasks, against loops over tasks and steps."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax.continual import schedules


@pytest.mark.parametrize(("tasks", "starts"), [(4, [0, 4, 8, 12]), ([0, 3, 9, 10], [0, 3, 9, 10])])
def test_lr_adjust_is_the_recursion(tasks, starts):
    rates, rate = {}, 1.0
    for task, start in enumerate(starts):
        rate = 1.0 if task == 0 else max(0.3, 0.6 * rate)
        rates[start] = rate
    expected = [rates[max(s for s in starts if s <= step)] for step in range(14)]
    schedule = schedules.lr_adjust(1.0, 0.6, 0.3, tasks)
    np.testing.assert_allclose([float(schedule(step)) for step in range(14)], expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(jnp.arange(14)), expected, rtol=1e-6)


@pytest.mark.parametrize(("tasks", "starts"), [(None, [0, 6, 12]), ([0, 9, 15], [0, 9, 15])])
def test_rewarm_is_a_line_up_and_half_a_cosine_down_in_each_task(tasks, starts):
    expected = []
    for step in range(18):
        at = step - max(s for s in starts if s <= step)
        cosine = 0.1 + 0.4 * (1 + math.cos(math.pi * min((at - 2) / 4, 1.0)))
        expected.append(0.1 + 0.8 * at / 2 if at < 2 else cosine)
    schedule = schedules.rewarm(0.9, 2, 6, decay_to=0.1, tasks=tasks)
    np.testing.assert_allclose([float(schedule(step)) for step in range(18)], expected, rtol=1e-5)


def test_settings_may_be_arrays():
    """Three streams at once with rates of their own, as the schedule of an optimizer."""

    def change(rate):
        tx = optax.sgd(schedules.lr_adjust(rate, 0.5, 0.0, 1))
        state, updates = tx.init(jnp.ones(())), []
        for _ in range(3):
            update, state = tx.update(jnp.ones(()), state)
            updates.append(update)
        return jnp.stack(updates)

    rates = jnp.asarray([1.0, 2.0, 4.0])
    np.testing.assert_allclose(jax.vmap(change)(rates), -rates[:, None] * np.asarray([[1, 0.5, 0.25]]), rtol=1e-6)


def test_bad_input():
    for make in (
        lambda: schedules.lr_adjust(1.0, 1.5, 0.0, 4),
        lambda: schedules.lr_adjust(1.0, 0.5, 2.0, 4),
        lambda: schedules.rewarm(1.0, 6, 6),
        lambda: schedules.rewarm(1.0, 2, 6, decay_to=2.0),
        lambda: schedules.task_of(0, 0),
        lambda: schedules.task_of(0, [1, 4]),
        lambda: schedules.task_of(0, [0, 4, 4]),
    ):
        with pytest.raises(ValueError, match=r"needs|ascending"):
            make()
