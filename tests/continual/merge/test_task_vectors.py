"""Task arithmetic, TIES and DARE: vectors by hand, PEFT's own functions, statistics, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from peft.utils import merge_utils

from seal_jax.continual import merge

TAU1, TAU2 = [3, -1, 0.5, -4], [-2, -3, 0.2, 1]
ZEROS = {"w": jnp.zeros(4)}
TUNED = [{"w": jnp.array(TAU1, jnp.float32)}, {"w": jnp.array(TAU2, jnp.float32)}]


@pytest.fixture(scope="module")
def trees():
    """A base and three tuned trees with a stacked kernel, another one and a leaf in bfloat16."""
    random = np.random.default_rng(0)

    def tree(scale):
        draw = lambda *shape: jnp.asarray(random.normal(size=shape) * scale, jnp.float32)  # noqa: E731
        return {"layers": {"kernel": draw(2, 6, 5)}, "head": draw(7, 3), "norm": draw(9).astype(jnp.bfloat16)}

    base = tree(1)
    return base, [jax.tree.map(jnp.add, base, tree(0.5)) for _ in range(3)]


def test_published_vectors():
    assert merge.ties(ZEROS, TUNED, density=0.5)["w"].tolist() == [3, -3, 0, -4]
    assert merge.task_arithmetic(ZEROS, TUNED, [0.5, 0.5])["w"].tolist() == [0.5, -2, pytest.approx(0.35), -1.5]
    np.testing.assert_array_equal(merge.task_arithmetic(ZEROS, TUNED)["w"], [0.5, -2, np.float32(0.35), -1.5])


@pytest.mark.parametrize("sign", ["total", "frequency"])
@pytest.mark.parametrize("density", [0.25, 0.6, 1.0])
def test_ties_is_pefts(trees, sign, density):
    base, tuned = trees
    weights = [1.0, 0.5, 2.0]
    found = merge.ties(base, tuned, weights, density=density, sign=sign)

    def by_peft(old, *new):
        taus = [torch.tensor(np.asarray(x, np.float32) - np.asarray(old, np.float32)) for x in new]
        merged = merge_utils.ties(taus, torch.tensor(weights), density, sign)
        return np.asarray(old, np.float32) + merged.numpy()

    layers = [by_peft(base["layers"]["kernel"][i], *[t["layers"]["kernel"][i] for t in tuned]) for i in range(2)]
    np.testing.assert_allclose(found["layers"]["kernel"], layers, atol=1e-6)
    np.testing.assert_allclose(found["head"], by_peft(base["head"], *[t["head"] for t in tuned]), atol=1e-6)
    assert found["norm"].dtype == jnp.bfloat16


def test_arithmetic_is_pefts(trees):
    base, tuned = trees
    found = merge.task_arithmetic(base, tuned, [0.3, -0.2, 1.5])["head"]
    taus = [torch.tensor(np.asarray(t["head"] - base["head"])) for t in tuned]
    wanted = merge_utils.task_arithmetic(taus, torch.tensor([0.3, -0.2, 1.5]))
    np.testing.assert_allclose(found, np.asarray(base["head"]) + wanted.numpy(), atol=1e-6)


def test_pruning_the_model_keeps_the_largest_of_all():
    base = {"small": jnp.zeros(4), "large": jnp.zeros(4)}
    tuned = [{"small": jnp.arange(4.0), "large": jnp.arange(10.0, 14.0)}]
    by_tensor = merge.ties(base, tuned, density=0.5)
    by_model = merge.ties(base, tuned, density=0.5, prune="model")
    assert by_tensor["small"].tolist() == [0, 0, 2, 3]
    assert by_model["small"].tolist() == [0, 0, 0, 0]
    assert by_model["large"].tolist() == [10, 11, 12, 13]


def test_dare_keeps_the_mean_and_depends_on_nothing_else(trees):
    base, tuned = trees
    drop = jax.jit(jax.vmap(lambda key: merge.dare(base, tuned, key, density=0.25)["head"]))
    found = np.asarray(drop(jax.random.split(jax.random.key(0), 4000)))
    wanted = np.asarray(merge.task_arithmetic(base, tuned)["head"])
    np.testing.assert_array_less(np.abs(found.mean(0) - wanted), 5 * found.std(0) / np.sqrt(4000) + 1e-6)
    key = jax.random.key(3)
    alone = merge.dare({"head": base["head"]}, [{"head": t["head"]} for t in tuned], key, density=0.25)
    np.testing.assert_array_equal(alone["head"], merge.dare(base, tuned, key, density=0.25)["head"])
    whole = merge.dare(base, tuned, key, density=1.0, then="ties")
    np.testing.assert_allclose(whole["head"], merge.ties(base, tuned, density=1.0)["head"], atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: merge.ties(ZEROS, TUNED, density=0.0),
            r"density=0.0: the share of numbers that are kept is in",
        ),
        (lambda: merge.ties(ZEROS, TUNED, [1.0]), "1 weights for 2 trees: give one each"),
        (lambda: merge.task_arithmetic(ZEROS, TUNED, [1.0, float("nan")]), "finite numbers are needed"),
        (lambda: merge.task_arithmetic(ZEROS, []), "nothing to merge"),
        (lambda: merge.ties(ZEROS, [{"w": jnp.zeros(3)}]), r"tree 1 differs at w: of shape \(3,\), in the first of sh"),
        (lambda: merge.ties(ZEROS, [{"v": jnp.zeros(4)}]), "tree 1 differs at "),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
