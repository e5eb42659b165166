"""The stream of permuted tasks."""

import dataclasses

import numpy as np
import pytest

from seal_jax.data.worlds import permuted

SHAPE = permuted.Shape(tasks=3, features=5, classes=4, clusters=2, train=30, test=11)


def test_the_same_seed_gives_the_same_stream():
    one, again, other = (permuted.stream(seed, SHAPE) for seed in (3, 3, 4))
    for a, b, c in zip((*one.train, *one.test), (*again.train, *again.test), (*other.train, *other.test)):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert one.train.x.shape == (3, 30, 5)
    assert one.test.y.shape == (3, 11)
    assert one.train.x.dtype == np.float32
    assert one.train.y.dtype == np.int32


def test_classes_are_alike_in_number():
    counts = [np.bincount(y, minlength=4) for y in permuted.stream(0, SHAPE).train.y]
    assert all(c.max() - c.min() <= 1 for c in counts)


def test_tasks_are_one_problem_in_other_orders():
    """Without noise the clusters of all tasks are the same up to the order of their coordinates."""
    shape = dataclasses.replace(SHAPE, train=4000, spread=5.0)
    stream = permuted.stream(1, shape)
    means = np.stack([[x[y == c].mean(0) for c in range(4)] for x, y in zip(*stream.train)])
    ordered = np.sort(means, axis=-1)
    np.testing.assert_allclose(ordered[0], ordered[1], atol=0.6)
    np.testing.assert_allclose(ordered[0], ordered[2], atol=0.6)
    assert np.abs(means[0] - means[1]).max() > 1.0


@pytest.mark.parametrize("field", ["tasks", "features", "classes", "clusters", "train", "test"])
def test_sizes_of_nothing(field):
    with pytest.raises(ValueError, match=f"{field}=0: use 1 or more"):
        permuted.stream(0, dataclasses.replace(SHAPE, **{field: 0}))
