"""GEM against its published vectors and against the quadratic program solved by going through all active sets."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax.continual import projections
from seal_jax.continual.projections.gem import dual

ROWS = np.asarray([[0.0, 1.0, 1.0], [-1.0, 0.0, 1.0]], np.float32)
GRAD = np.asarray([1.0, -2.0, 0.0], np.float32)


def projected(grad, rows, tasks, filled=None, **settings):
    split = lambda x: {"w": jnp.asarray(x[..., :2]), "b": (jnp.asarray(x[..., 2:]), None)}  # noqa: E731
    tx = projections.gem(tasks, **settings)
    found, _ = tx.update(split(grad), optax.EmptyState(), memory_grads=split(rows), filled=filled)
    return np.concatenate([found["w"], found["b"][0]])


@pytest.mark.parametrize(
    ("margin", "eps", "expected"), [(0.0, 0.0, [1.0, -1.0, 1.0]), (0.5, 1e-3, [0.5, -1.250375, 1.249625])]
)
def test_published_vectors(margin, eps, expected):
    np.testing.assert_allclose(projected(GRAD, ROWS, 2, margin=margin, eps=eps), expected, atol=1e-5)


def test_published_dual():
    v = dual(jnp.asarray(ROWS @ ROWS.T), jnp.asarray(ROWS @ GRAD), jnp.asarray([True, True]), 0.5, 1e-3)
    np.testing.assert_allclose(v, [0.749625, 0.5], atol=1e-5)


def oracle(matrix, slope, margin):
    """The v >= margin of which every free entry has no slope and every bound one a slope upwards."""
    for bound in itertools.product([False, True], repeat=len(slope)):
        bound = np.asarray(bound)
        v = np.full(len(slope), margin)
        free = ~bound
        v[free] = np.linalg.solve(matrix[np.ix_(free, free)], -slope[free] - matrix[np.ix_(free, bound)] @ v[bound])
        if np.all(v >= margin - 1e-12) and np.all((matrix @ v + slope)[bound] >= -1e-12):
            return v
    raise AssertionError("no active set is optimal")


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_the_dual_is_solved(margin):
    """Six past tasks in 40 dimensions, 50 draws at once, of which one has memories that are nearly parallel."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 6, 40))
    rows[0] = rng.normal(size=40) + 0.3 * rng.normal(size=(6, 40))
    slopes = np.einsum("nij,nj->ni", rows, rng.normal(size=(50, 40)) - (margin + 0.1) * rows.sum(1))
    products = np.einsum("nij,nkj->nik", rows, rows)
    solve = jax.vmap(lambda p, q: dual(p, q, jnp.ones(6, bool), margin))
    found = solve(jnp.asarray(products, jnp.float32), jnp.asarray(slopes, jnp.float32))
    expected = [oracle(p + 1e-3 * np.eye(6), q, margin) for p, q in zip(products, slopes)]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert 0.3 < np.mean(np.asarray(expected) > margin) < 0.95, "the draws must have free and bound entries"


def test_tasks_to_come_have_no_say():
    """A row that is not filled is as if it were not there, whatever it holds; zero rows are not filled by default."""
    few = projected(GRAD, ROWS[:1], 1)
    rows = np.concatenate([ROWS[:1], np.full((1, 3), -7.0, np.float32)])
    np.testing.assert_allclose(projected(GRAD, rows, 2, jnp.asarray([True, False])), few, atol=1e-6)
    np.testing.assert_allclose(projected(GRAD, rows * [[1.0], [0.0]], 2), few, atol=1e-6)


def test_nothing_changes_where_no_task_is_harmed():
    np.testing.assert_array_equal(projected(-GRAD, ROWS, 2), -GRAD)


def test_bad_input():
    with pytest.raises(ValueError, match="needs memory_grads="):
        projections.gem(2).update({"w": jnp.ones(2)}, optax.EmptyState())
    with pytest.raises(ValueError, match="made for 3 tasks"):
        projected(GRAD, ROWS, 3)
    with pytest.raises(ValueError, match="margin"):
        projections.gem(2, margin=-1.0)
