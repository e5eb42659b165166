"""What a measurement counts, and that nothing waits without one."""

import time

import jax.numpy as jnp

from seal_jax.runtime import clock


def slow(x, seconds=0.0):
    time.sleep(seconds)
    return x + 1


def test_named_programs_are_counted_and_the_rest_is_not():
    with clock.measure() as seconds:
        assert clock.timed("a", slow, jnp.zeros(2), seconds=0.05).tolist() == [1, 1]
        clock.timed("a", slow, 1, seconds=0.05)
        clock.timed("b", slow, 1)
        time.sleep(0.1)
    assert 0.1 <= seconds["a"] < 0.2
    assert seconds["b"] < 0.05
    assert set(seconds) == {"a", "b"}


def test_without_a_measurement_a_program_just_runs():
    assert clock.timed("a", slow, 1) == 2
    with clock.measure() as seconds:
        pass
    clock.timed("a", slow, 1)
    assert not seconds


def test_an_inner_measurement_has_its_own_time():
    with clock.measure() as outer:
        with clock.measure() as inner:
            clock.timed("a", slow, 1)
        clock.timed("b", slow, 1)
    assert set(inner) == {"a"}
    assert set(outer) == {"b"}
