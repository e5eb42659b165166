"""The cross-entropy method and random search: one generation against a loop, and a quadratic with a known optimum."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import cross_entropy

from seal_jax.transformer2 import cem, random_search

TARGET = np.array([[0.9, 0.15], [0.3, 0.5], [0.05, 0.7]], np.float32)


def quadratic(candidates):
    return -np.sum((np.asarray(candidates) - TARGET) ** 2, axis=(1, 2))


def run(search, settings, generations, value=quadratic, seed=0, start=None):
    """States and candidates of a search that has no second value."""
    state = search.init(jnp.full(TARGET.shape, 1 / 3) if start is None else start, settings)
    states, drawn = [state], []
    for _ in range(generations):
        candidates = search.ask(state, jax.random.key(seed), settings)
        state = search.tell(state, candidates, value(candidates), np.zeros(settings.population), settings)
        states.append(state)
        drawn.append(np.asarray(candidates))
    return states, drawn


def test_the_defaults_are_the_releases():
    """Checklist (j): 6 elites of 32; spread begins at half the range; candidates stay within the bounds."""
    settings = cem.Settings()
    assert (settings.population, settings.elites) == (32, 6)
    state = cem.init(jnp.full((3, 2), 1 / 3), settings)
    np.testing.assert_array_equal(state.std, np.full((3, 2), 0.5))
    candidates = np.asarray(cem.ask(state, jax.random.key(0), settings))
    assert candidates.shape == (32, 3, 2)
    assert candidates.min() == 0.0  # clamped, not redrawn
    assert candidates.max() == 1.0
    np.testing.assert_array_equal(candidates[0], state.mean)  # nothing has been found yet: the beginning itself


@pytest.mark.parametrize(("ema", "floor"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2)])
def test_each_generation_is_the_oracles(ema, floor):
    settings = cem.Settings(ema=ema, std_floor=floor)
    states, drawn = run(cem, settings, 4)
    for before, after, candidates in zip(states, states[1:], drawn):
        fitness = quadratic(candidates)
        mean, std, best = cross_entropy.generation(
            candidates, fitness, np.zeros(32), 6, before.mean, before.std, ema, floor
        )
        np.testing.assert_allclose(after.mean, mean, atol=1e-6)
        np.testing.assert_allclose(after.std, std, atol=1e-6)
        np.testing.assert_array_equal(after.best, best)
    assert float(states[-1].std.min()) >= floor


@pytest.mark.parametrize("settings", [cem.Settings(ema=0.5), cem.Settings(std_floor=0.01)], ids=["ema", "floor"])
def test_the_optimum_of_a_quadratic_is_reached(settings):
    states, drawn = run(cem, settings, 40)
    last = states[-1]
    np.testing.assert_allclose(last.found.candidate, TARGET, atol=0.02)
    assert float(last.found.fitness) == pytest.approx(max(quadratic(c).max() for c in drawn))
    for before, candidates in zip(states[1:], drawn[1:]):  # member 0 is the previous best
        np.testing.assert_array_equal(candidates[0], before.best)


def test_without_a_floor_it_can_stop_short():
    """The released settings: the spread of six elites vanishes before six numbers are found. Few are found."""
    stopped, _ = run(cem, cem.Settings(), 40)
    assert float(stopped[-1].std.max()) < 1e-3
    assert np.abs(stopped[-1].found.candidate - TARGET).max() > 0.05
    random, _ = run(random_search, random_search.Settings(), 40)  # as many evaluations, and further off still
    assert float(random[-1].found.fitness) < float(stopped[-1].found.fitness)
    pair = lambda c: -np.sum((np.asarray(c) - TARGET[0]) ** 2, axis=1)  # noqa: E731
    two, _ = run(cem, cem.Settings(), 40, pair, start=jnp.full(2, 1 / 3))
    np.testing.assert_allclose(two[-1].found.candidate, TARGET[0], atol=1e-3)


def test_the_optimum_may_lie_on_a_bound():
    corner = np.array([1.0, 0.0], np.float32)
    value = lambda c: -np.sum((np.asarray(c) - corner) ** 2, axis=1)  # noqa: E731
    states, _ = run(cem, cem.Settings(), 30, value, start=jnp.full(2, 0.5))
    np.testing.assert_array_equal(states[-1].found.candidate, corner)


def test_ties_go_by_the_second_value_then_by_order():
    candidates = jnp.arange(10, dtype=jnp.float32)[:, None] / 10
    fitness = np.array([0.5, 1, 1, 0, 1, 1, 0, 0, 0, 0])
    ties = np.array([9, -4, -2, 0, -2, -3, 0, 0, 0, 0])
    base = cem.Settings(population=10, elite_ratio=0.2)
    assert cem.rank(jnp.asarray(fitness), jnp.asarray(ties))[:6].tolist() == [2, 4, 5, 1, 0, 3]
    found = {}
    for name in ("all", "best", "none"):
        settings = dataclasses.replace(base, ties=name)
        state = cem.tell(cem.init(jnp.zeros(1), settings), candidates, fitness, ties, settings)
        found[name] = (round(float(state.mean[0]), 5), round(float(state.best[0]), 5))
    assert found == {"all": (0.3, 0.2), "best": (0.15, 0.2), "none": (0.15, 0.1)}


def test_the_best_of_all_generations_is_kept():
    """Where a generation is worse than one before, `found` stays; the earliest of equals stays as well."""
    settings = cem.Settings(population=3, elite_ratio=0.7, re_eval_best=False)
    state = cem.init(jnp.zeros(1), settings)
    for fitness, ties in (([0, 2, 1], [0, -1, 0]), ([1, 0, 0], [5, 0, 0]), ([2, 2, 0], [-1, -0.5, 0])):
        candidates = jnp.asarray([[float(state.generation) / 10 + i / 100] for i in range(3)])
        state = cem.tell(state, candidates, jnp.asarray(fitness), jnp.asarray(ties), settings)
        last = [round(float(x), 4) for x in (state.found.candidate[0], state.found.fitness, state.found.tie)]
        if int(state.generation) == 2:
            assert last == [0.01, 2, -1]
            assert float(state.best[0]) == pytest.approx(0.1)
    assert last == [0.21, 2, -0.5]


def test_generations_draw_by_number_and_resume():
    settings = cem.Settings()
    (whole, _), (again, _) = run(cem, settings, 3), run(cem, settings, 3)
    jax.tree.map(np.testing.assert_array_equal, whole[-1], again[-1])
    first, second = (np.asarray(cem.ask(s, jax.random.key(0), settings)) for s in whole[:2])
    assert not np.array_equal(first, second)
    moved = jax.jit(lambda s, k: cem.ask(s, k, settings))(whole[1], jax.random.key(0))  # traceable
    np.testing.assert_allclose(moved, second, atol=1e-6)


def test_random_search_is_uniform_and_keeps_a_share_of_the_old_best():
    settings = random_search.Settings(population=400, ema=0.25)
    state = random_search.init(jnp.asarray([0.4, 0.4]), settings)
    candidates = np.asarray(random_search.ask(state, jax.random.key(1), settings))
    np.testing.assert_array_equal(candidates[0], np.float32([0.4, 0.4]))
    assert abs(candidates[1:].mean() - 0.5) < 0.05
    assert abs(candidates[1:].std() - 1 / np.sqrt(12)) < 0.02
    fitness = -np.abs(candidates - 0.8).sum(1)
    after = random_search.tell(state, jnp.asarray(candidates), fitness, np.zeros(400), settings)
    best = candidates[fitness.argmax()]
    np.testing.assert_allclose(after.best, 0.75 * best + 0.25 * 0.4, atol=1e-6)
    np.testing.assert_array_equal(after.found.candidate, best)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population": 1}, "population 1: use 2 or more"),
        ({"elite_ratio": 0.05}, r"elite_ratio 0.05: 1 of 32 candidates would be elites"),
        ({"elite_ratio": 1.1}, r"elite_ratio 1.1: 35 of 32"),
        ({"minimum": 1.0}, "minimum 1.0: use a number below the maximum"),
        ({"ema": 1.0}, "ema 1.0: use a number from 0 to less than 1"),
        ({"std_floor": -0.1}, "std_floor -0.1: use 0 or more"),
        ({"std_floor": float("nan")}, "std_floor nan: use 0 or more"),
        ({"ties": "first"}, "ties 'first': use 'all', 'best' or 'none'"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        cem.Settings(**settings)
