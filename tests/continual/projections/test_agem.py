"""A-GEM against the vectors of its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax.continual import projections


def projected(grad, memory):
    return projections.agem().update(grad, optax.EmptyState(), memory_grad=memory)[0]


@pytest.mark.parametrize(
    ("memory", "expected"),
    [([0.0, 1.0, 1.0], [1.0, -1.0, 1.0]), ([0.0, -1.0, 0.0], [1.0, -2.0, 0.0]), ([0.0, 0.0, 0.0], [1.0, -2.0, 0.0])],
    ids=["against", "with", "no memory"],
)
def test_the_part_against_the_memory_is_taken_away(memory, expected):
    """The inner product runs over the whole tree: here each leaf alone would give something else."""
    split = lambda x: {"w": jnp.asarray(x[:2]), "b": (jnp.asarray(x[2:]), None)}  # noqa: E731
    found = projected(split([1.0, -2.0, 0.0]), split(memory))
    assert jax.tree.structure(found) == jax.tree.structure(split(memory))
    np.testing.assert_allclose(np.concatenate([found["w"], found["b"][0]]), expected, atol=1e-6)


def test_half_precision_is_projected_in_float32():
    key = jax.random.key(0)
    grad = jax.random.normal(key, (4096,), jnp.bfloat16)
    memory = -grad + 0.1 * jax.random.normal(jax.random.key(1), (4096,), jnp.bfloat16)
    found = projected({"w": grad}, {"w": memory})["w"]
    assert found.dtype == jnp.bfloat16
    g, r = (np.asarray(x, np.float64) for x in (grad, memory))
    np.testing.assert_allclose(np.asarray(found, np.float64), g - g @ r / (r @ r) * r, atol=4e-3)  # an ulp of 0.5


def test_masked_leaves_take_no_part_in_the_inner_product():
    tx = optax.masked(projections.agem(), {"w": True, "b": False})
    grad, memory = ({"w": jnp.asarray([w]), "b": jnp.asarray([b])} for w, b in ((1.0, 3.0), (-2.0, 5.0)))
    found, _ = tx.update(grad, tx.init(grad), memory_grad=memory)
    assert float(found["w"][0]) == pytest.approx(0.0, abs=1e-6)
    assert float(found["b"][0]) == 3.0


def test_without_a_memory_gradient_is_an_error():
    with pytest.raises(ValueError, match="needs memory_grad="):
        projections.agem().update({"w": jnp.ones(2)}, optax.EmptyState())
