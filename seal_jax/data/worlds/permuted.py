"""A stream of tasks in numbers: one classification problem, its input coordinates in another order for each task.

The smallest stream on which sequential training forgets and on which remedies differ: every task is as hard as any
other, one head serves all, and nothing in an input says which task it is of (domain-incremental). A class is a few
Gaussian clusters, so that no linear map solves it.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a stream. `spread`: standard deviation of the cluster centres in each coordinate; the noise has 1."""

    tasks: int = 5
    features: int = 64
    classes: int = 10
    clusters: int = 3
    train: int = 1536
    test: int = 600
    spread: float = 1.0


class Examples(NamedTuple):
    """x float32 `[..., n, features]`, y int32 `[..., n]`."""

    x: np.ndarray
    y: np.ndarray


class Stream(NamedTuple):
    """train and test, each with a leading task axis `[T, n, ...]`."""

    train: Examples
    test: Examples


def stream(seed: int, shape: Shape = Shape()) -> Stream:
    """The stream of `seed`, a function of the seed and the shape alone. Raises ValueError for sizes under 1."""
    for field in ("tasks", "features", "classes", "clusters", "train", "test"):
        if getattr(shape, field) < 1:
            raise ValueError(f"{field}={getattr(shape, field)}: use 1 or more")
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 7])))
    centres = shape.spread * rng.standard_normal((shape.classes, shape.clusters, shape.features))
    orders = np.stack([rng.permutation(shape.features) for _ in range(shape.tasks)])
    parts = [_examples(rng, centres, orders, count) for count in (shape.train, shape.test)]
    return Stream(*parts)


def _examples(rng: np.random.Generator, centres: np.ndarray, orders: np.ndarray, count: int) -> Examples:
    """`count` fresh examples for each task, classes alike in number up to one."""
    classes, clusters, features = centres.shape
    y = np.stack([rng.permutation(np.arange(count) % classes) for _ in orders])
    centre = centres[y, rng.integers(0, clusters, y.shape)]
    x = centre + rng.standard_normal((*y.shape, features))
    return Examples(np.take_along_axis(x, orders[:, None], axis=-1).astype(np.float32), y.astype(np.int32))
