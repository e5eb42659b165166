"""Averages of trees: by hand, against one another, per layer, under transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax.continual import merge


def tree(value, layers=4):
    one = {"kernel": jnp.full((2, 3), value, jnp.float32)}
    return {
        "embed_tokens": {"embedding": jnp.full(5, value, jnp.float32)},
        "layers": jax.tree.map(lambda x: jnp.stack([x] * layers), one),
        "norm": {"scale": jnp.full(3, value, jnp.bfloat16)},
    }


def unrolled(of):
    layers = [jax.tree.map(lambda x, i=i: x[i], of["layers"]) for i in range(4)]
    return {**of, "layers": tuple(layers)}


def test_weighted_sums():
    found = merge.average([tree(1.0), tree(2.0), tree(6.0)])
    assert {float(x.ravel()[0]) for x in jax.tree.leaves(found)} == {3.0}
    assert found["norm"]["scale"].dtype == jnp.bfloat16
    found = merge.average([tree(1.0), tree(2.0)], [2.0, -0.5])
    assert {float(x.ravel()[0]) for x in jax.tree.leaves(found)} == {1.0}
    assert float(merge.interpolate(tree(1.0), tree(2.0), 1.0)["norm"]["scale"][0]) == 1.0
    assert float(merge.ema(tree(4.0), tree(8.0), 0.75)["norm"]["scale"][0]) == 5.0


def test_the_running_mean_is_the_mean():
    values, mean = (1.0, 5.0, 3.0, -1.0), tree(1.0)
    step = jax.jit(merge.running_mean)
    for count, value in enumerate(values[1:], 2):
        mean = step(mean, tree(value), jnp.float32(count))
    np.testing.assert_allclose(mean["layers"]["kernel"], np.mean(values), rtol=1e-6)


@pytest.mark.parametrize("form", [lambda x: x, unrolled], ids=["stacked", "unrolled"])
def test_a_share_for_each_group_of_layers(form):
    alphas = jnp.array([0.0, 1.0])
    found = merge.hierarchical(form(tree(1.0)), form(tree(3.0)), alphas)
    kernels = found["layers"]["kernel"] if form is not unrolled else [x["kernel"] for x in found["layers"]]
    assert [float(k[0, 0]) for k in kernels] == [3, 3, 1, 1]
    assert float(found["embed_tokens"]["embedding"][0]) == 3
    assert float(found["norm"]["scale"][0]) == 1
    equal = merge.hierarchical(form(tree(1.0)), form(tree(3.0)), jnp.full(3, 0.25))
    assert {float(x.ravel()[0]) for x in jax.tree.leaves(equal)} == {2.5}


def test_shares_have_the_given_mean():
    logits = jnp.array([-2.0, 0.0, 3.0])
    alphas = merge.hierarchical_alphas(logits, 0.3, eps=0.01)
    raw = 1 / (1 + np.exp(-np.asarray(logits))) + 0.01
    np.testing.assert_allclose(alphas, 0.3 * raw / raw.sum() * 3, rtol=1e-6)
    assert float(alphas.mean()) == pytest.approx(0.3)
    grads = jax.grad(
        lambda x: merge.hierarchical(tree(1.0), tree(3.0), merge.hierarchical_alphas(x, 0.3))["layers"]["kernel"][
            0
        ].sum()
    )(logits)
    assert float(jnp.abs(grads).min()) > 0


def test_bad_input():
    with pytest.raises(ValueError, match=r"tree 1 differs at layers/kernel: of shape \(3, 2, 3\), in the first of sha"):
        merge.average([tree(1.0), tree(1.0, 3)])
    with pytest.raises(ValueError, match="nothing to merge"):
        merge.average([])
    with pytest.raises(ValueError, match="needs a tree with layers"):
        merge.hierarchical({"w": jnp.ones(2)}, {"w": jnp.ones(2)}, jnp.ones(2))
