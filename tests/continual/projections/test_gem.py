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
@pytest.mark.parametrize("spread", [1.0, 0.3, 0.03], ids=["random memories", "correlated", "nearly parallel"])
def test_the_dual_is_solved(margin, spread):
    """Six past tasks in 40 dimensions, 30 draws at once; cosines between the correlated ones are about 0.9 and 0.999.

    The gradient is what matters: of nearly parallel memories many v give nearly the same.
    """
    rng = np.random.default_rng(0)
    rows = spread * rng.normal(size=(30, 6, 40)) + (spread < 1) * rng.normal(size=(30, 1, 40))
    grads = rng.normal(size=(30, 40)) - (margin + 0.1) * rows.sum(1)
    slopes, products = np.einsum("nij,nj->ni", rows, grads), np.einsum("nij,nkj->nik", rows, rows)
    found = SOLVE(jnp.asarray(products, jnp.float32), jnp.asarray(slopes, jnp.float32), margin)
    expected = np.asarray([oracle(p + 1e-3 * np.eye(6), q, margin) for p, q in zip(products, slopes)])
    assert 0.1 < np.mean(expected > margin) < 0.95, "the draws must have free and bound entries"
    if spread >= 0.3:
        np.testing.assert_allclose(found, expected, atol=1e-4)
    z, ours = (grads + np.einsum("ni,nij->nj", v, rows) for v in (expected, np.asarray(found, np.float64)))
    assert np.max(np.linalg.norm(ours - z, axis=1) / np.linalg.norm(z, axis=1)) < 3e-5


SOLVE = jax.jit(jax.vmap(lambda p, q, margin: dual(p, q, jnp.ones(6, bool), margin), (0, 0, None)))


def test_the_same_memory_twice_is_as_once():
    """Without eps the dual has no one solution then, but its gradient has."""
    rows = np.repeat(ROWS, 2, axis=0)
    found = projected(GRAD, rows, 4, margin=0.0, eps=0.0)
    np.testing.assert_allclose(found, projected(GRAD, ROWS, 2, margin=0.0, eps=0.0), atol=1e-5)


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
    for setting in ({"margin": float("nan")}, {"eps": float("inf")}, {"margin": None}):
        with pytest.raises(ValueError, match=f"{next(iter(setting))}=.* must be one finite number at least 0"):
            projections.gem(2, **setting)
    with pytest.raises(ValueError, match="tasks"):
        projections.gem(0)
