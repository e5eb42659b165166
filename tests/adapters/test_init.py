"""Fresh adapters and the kernels that target names mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import models
from seal_jax.adapters import attach, lora, select, svf

CONFIG = models.Config("qwen2", 48, 16, 24, 2, 2, 1, 8, 64, qkv_bias=True)
ATTENTION = {f"layers/self_attn/{name}/kernel" for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
MLP = {f"layers/mlp/{name}/kernel" for name in ("gate_proj", "up_proj", "down_proj")}
DOWN, Q = "layers/mlp/down_proj/kernel", "layers/self_attn/q_proj/kernel"


@pytest.fixture(scope="module")
def params():
    return models.init(jax.random.key(0), CONFIG)


@pytest.mark.parametrize(
    ("targets", "paths"),
    [
        (("q_proj",), {Q}),
        ("q_proj", {Q}),
        (("attention",), ATTENTION),
        (("mlp",), MLP),
        (("all",), ATTENTION | MLP),
        (("mlp", "q_proj", "up_proj"), MLP | {Q}),
        (("lm_head",), {"lm_head/kernel"}),
    ],
)
def test_targets_are_modules_or_groups(params, targets, paths):
    assert select(params, targets).keys() == paths


@pytest.mark.parametrize("targets", [("qproj",), ("q_proj", "query"), ("",)])
def test_target_that_matches_nothing_is_named_with_what_there_is(params, targets):
    with pytest.raises(ValueError, match="matches no kernel") as caught:
        lora.init(jax.random.key(0), params, targets=targets)
    for word in (repr(targets[-1]), "q_proj", "down_proj", "lm_head", "attention"):
        assert word in str(caught.value)


def test_targets_are_picked_on_stacked_plain_parameters(params):
    with pytest.raises(ValueError, match="unrolled"):
        lora.init(jax.random.key(0), models.unroll(params))
    adapted = attach(params, lora.init(jax.random.key(0), params))
    with pytest.raises(ValueError, match="already a LoRA"):
        lora.init(jax.random.key(0), adapted)


def test_lora_tree_has_the_documented_leaves(params):
    adapter = lora.init(jax.random.key(0), params, rank=3, alpha=12, targets=("down_proj", "lm_head"))
    assert jax.tree.map(lambda x: (x.shape, x.dtype.name), adapter) == {
        DOWN: {"a": ((2, 24, 3), "float32"), "b": ((2, 3, 16), "float32"), "scale": ((2,), "float32")},
        "lm_head/kernel": {"a": ((16, 3), "float32"), "b": ((3, 48), "float32"), "scale": ((), "float32")},
    }
    np.testing.assert_array_equal(adapter[DOWN]["scale"], [4.0, 4.0])
    assert (adapter[DOWN]["b"] == 0).all()


def test_lora_is_drawn_as_peft_draws_it(params):
    """Kaiming uniform with a = sqrt(5): within +-1/sqrt(fan in), of standard deviation 1/sqrt(3 fan in)."""
    a = lora.init(jax.random.key(0), params, rank=200, targets="down_proj")[DOWN]["a"]
    assert float(jnp.abs(a).max()) <= 24**-0.5
    np.testing.assert_allclose(a.std(), (3 * 24) ** -0.5, rtol=0.02)
    assert abs(float(a.mean())) < 0.005


def test_lora_draws_depend_on_key_and_path_only(params):
    alone = lora.init(jax.random.key(0), params, targets="q_proj")
    among = lora.init(jax.random.key(0), params, targets="all")
    other = lora.init(jax.random.key(1), params, targets="q_proj")
    np.testing.assert_array_equal(alone[Q]["a"], among[Q]["a"])
    assert float(jnp.abs(alone[Q]["a"] - other[Q]["a"]).max()) > 0.1
    k_proj = among["layers/self_attn/k_proj/kernel"]["a"]
    assert float(jnp.abs(alone[Q]["a"] - k_proj).max()) > 0.1
    assert float(jnp.abs(alone[Q]["a"][0] - alone[Q]["a"][1]).max()) > 0.1


@pytest.mark.parametrize("rank", [0, -1])
def test_lora_of_no_rank_is_refused(params, rank):
    with pytest.raises(ValueError, match=f"rank={rank}"):
        lora.init(jax.random.key(0), params, rank=rank)


def test_factors_multiply_to_the_kernel(params):
    factors = svf.factor(params, ("mlp", "lm_head"))
    assert factors.keys() == MLP | {"lm_head/kernel"}
    assert jax.tree.map(jnp.shape, factors[DOWN]) == {"u": (2, 24, 16), "s": (2, 16), "vt": (2, 16, 16)}
    for path, kernel in select(params, ("mlp", "lm_head")).items():
        f = factors[path]
        np.testing.assert_allclose(f["u"] * f["s"][..., None, :] @ f["vt"], kernel, atol=1e-6)
        assert (jnp.diff(f["s"]) <= 0).all()


def test_expert_starts_near_the_base_model(params):
    factors = svf.factor(params, "all")
    expert = svf.init(jax.random.key(0), factors)
    assert expert.keys() == factors.keys()
    raws = jnp.concatenate([entry["raw"].ravel() for entry in expert.values()])
    assert raws.dtype == jnp.float32
    np.testing.assert_allclose([raws.mean(), raws.std()], [0.1, 0.01], atol=0.002)
    constant = svf.init(jax.random.key(0), factors, mean=-1.0, std=0.0)
    assert (constant[DOWN]["raw"] == -1).all()
    assert constant[DOWN]["raw"].shape == (2, 16)
