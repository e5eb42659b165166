"""LoRA adapters merged by their products, against dense arithmetic and PEFT's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from peft.utils import merge_utils

from seal_jax.continual import merge

Q, V = "layers/self_attn/q_proj/kernel", "layers/self_attn/v_proj/kernel"


def entry(seed, rank, fan_in=6, fan_out=5):
    random = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    return {"a": draw(2, fan_in, rank), "b": draw(2, rank, fan_out), "scale": jnp.array([2.0, 0.5])}


@pytest.fixture(scope="module")
def adapters():
    return [{Q: entry(0, 2), V: entry(1, 2)}, {Q: entry(2, 1)}, {Q: entry(3, 3), V: entry(4, 3)}]


def dense(entry):
    return np.asarray(entry["a"] @ (entry["b"] * entry["scale"][:, None, None]))


def test_the_linear_merge_is_exact(adapters):
    found = merge.merge_adapters(adapters, weights=[0.5, 2.0, -1.0])
    assert found.adapter[Q]["a"].shape == (2, 6, 6)
    assert found.adapter[V]["a"].shape == (2, 6, 5)
    wanted = 0.5 * dense(adapters[0][Q]) + 2 * dense(adapters[1][Q]) - dense(adapters[2][Q])
    np.testing.assert_allclose(dense(found.adapter[Q]), wanted, atol=1e-5)
    np.testing.assert_allclose(dense(found.adapter[V]), 0.5 * dense(adapters[0][V]) - dense(adapters[2][V]), atol=1e-5)
    assert found.kept == {Q: 1, V: 1}


def test_a_smaller_rank_is_the_best_one(adapters):
    found = merge.merge_adapters(adapters, rank=2)
    wanted = sum(dense(a[Q]) for a in adapters) / 3
    u, s, vt = np.linalg.svd(wanted, full_matrices=False)
    np.testing.assert_allclose(dense(found.adapter[Q]), (u[..., :2] * s[:, None, :2]) @ vt[:, :2], atol=1e-4)
    assert float(found.kept[Q]) == pytest.approx((s[:, :2] ** 2).sum() / (s**2).sum(), rel=1e-4)
    assert found.kept[Q] < 0.99


@pytest.mark.parametrize("sign", ["total", "frequency"])
def test_ties_is_pefts_on_the_products(adapters, sign):
    found = merge.merge_adapters(adapters, "ties", [1.0, 0.5, 1.5], rank=5, density=0.4, sign=sign)
    for layer in range(2):
        taus = [torch.tensor(dense(a[Q])[layer]) for a in adapters]
        wanted = merge_utils.ties(taus, torch.tensor([1.0, 0.5, 1.5]), 0.4, sign).numpy()
        np.testing.assert_allclose(dense(found.adapter[Q])[layer], wanted, atol=1e-4)


def test_random_drops_keep_the_mean(adapters):
    both = [{Q: a[Q]} for a in adapters]
    drop = lambda key: merge.merge_adapters(both, "dare", rank=5, density=0.5, key=key).adapter[Q]  # noqa: E731
    many = jax.jit(jax.vmap(drop))(jax.random.split(jax.random.key(0), 400))
    found = np.asarray(many["a"] @ (many["b"] * many["scale"][..., None, None]))
    wanted = sum(dense(a[Q]) for a in adapters) / 3
    np.testing.assert_array_less(np.abs(np.mean(found, 0) - wanted), 5 * np.std(found, 0) / np.sqrt(400) + 1e-4)
    whole = merge.merge_adapters(both, "dare_ties", rank=5, density=1.0, key=jax.random.key(0)).adapter[Q]
    ties = merge.merge_adapters(both, "ties", rank=5, density=1.0).adapter[Q]
    np.testing.assert_allclose(dense(whole), dense(ties), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "mean"}, "method='mean' is not one of linear, ties, dare, dare_ties"),
        ({"method": "dare"}, "method='dare' drops at random: give it a key"),
        ({"weights": [1.0]}, "1 weights for 3 trees"),
        ({"rank": 0}, "rank=0: use 1 or more"),
        ({"method": "ties", "density": 2.0}, "density=2.0"),
    ],
)
def test_bad_settings(adapters, arguments, message):
    with pytest.raises(ValueError, match=message):
        merge.merge_adapters(adapters, **arguments)


def test_adapters_that_do_not_fit():
    with pytest.raises(ValueError, match=r"adapters of kernels \(2, 6, 5\) and \(2, 6, 7\): not of one base"):
        merge.merge_adapters([{Q: entry(0, 2)}, {Q: entry(0, 2, fan_out=7)}])
    with pytest.raises(ValueError, match="LoRA with a, b and scale is needed, not raw"):
        merge.merge_adapters([{Q: {"raw": jnp.ones((2, 3))}}])
    with pytest.raises(ValueError, match="nothing to merge"):
        merge.merge_adapters([])
