"""The rules by which parameters, adapters and optimizer state are split, and what is said of a mesh beforehand."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from seal_jax import adapters, models, training
from seal_jax.runtime.mesh import make_mesh
from seal_jax.runtime.placement import adapters_spec, check_mesh, param_spec, used_spec

LLAMA = models.Config("llama", 64, 32, 48, 2, 4, 2, 8, 128, qkv_bias=True, mlp_bias=True, output_bias=True)
NEOX = models.Config(
    "gpt_neox", 64, 32, 48, 2, 4, 4, 8, 128, norm="layer", gated_mlp=False, fused_qkv=True, qkv_bias=True
)
FULL = "data=2,fsdp=2,model=2"


def specs(tree, spec, config=LLAMA, rule=param_spec):
    """`{path: spec}` of every leaf."""
    mesh = make_mesh(spec)
    return {
        "/".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path): tuple(rule(path, leaf, mesh, config))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def shapes(config=LLAMA):
    return jax.eval_shape(lambda key: models.init(key, config), jax.random.key(0))


def test_kernels_by_columns_then_by_rows():
    found = specs(shapes(), FULL)
    for name in ("q_proj", "k_proj", "v_proj"):
        assert found[f"layers/self_attn/{name}/kernel"] == (None, "fsdp", "model")
        assert found[f"layers/self_attn/{name}/bias"] == (None, "model")
    assert found["layers/mlp/gate_proj/kernel"] == found["layers/mlp/up_proj/kernel"] == (None, "fsdp", "model")
    assert found["layers/mlp/up_proj/bias"] == (None, "model")
    for name in ("self_attn/o_proj", "mlp/down_proj"):
        assert found[f"layers/{name}/kernel"] == (None, "model", "fsdp")
        assert found[f"layers/{name}/bias"] == (None, None)  # added once, after the sum over devices
    assert found["embed_tokens/embedding"] == ("model", "fsdp")
    assert found["lm_head/kernel"] == ("fsdp", "model")
    assert found["norm/scale"] == (None,)
    assert found["layers/input_layernorm/scale"] == (None, None)


def test_fused_projections_are_split_by_heads():
    found = specs(shapes(NEOX), FULL, NEOX)
    assert found["layers/self_attn/query_key_value/kernel"] == (None, "fsdp", "model")
    assert found["layers/self_attn/query_key_value/bias"] == (None, "model")
    whole = specs(shapes(NEOX), "model=8", NEOX)  # 8 divides the 96 columns, and not the 4 heads
    assert whole["layers/self_attn/query_key_value/kernel"] == (None, None, None)
    assert whole["layers/self_attn/query_key_value/bias"] == (None, None)
    assert whole["layers/self_attn/o_proj/kernel"] == (None, None, None)
    assert whole["layers/mlp/up_proj/kernel"] == (None, None, "model")


def test_heads_are_never_cut():
    """model=4 divides the 16 channels of two key/value heads, and the 4 query heads."""
    found = specs(shapes(), "data=2,model=4")
    assert found["layers/self_attn/q_proj/kernel"] == (None, None, "model")
    assert found["layers/self_attn/k_proj/kernel"] == found["layers/self_attn/v_proj/kernel"] == (None, None, None)
    assert found["layers/self_attn/k_proj/bias"] == (None, None)
    assert found["layers/self_attn/o_proj/kernel"] == (None, "model", None)
    six = models.Config("llama", 64, 96, 48, 2, 12, 6, 8, 128)  # 4 devices of 3 queries each: one and a half keys
    assert specs(shapes(six), "data=2,model=4", six)["layers/self_attn/q_proj/kernel"] == (None, None, None)


def test_layers_stay_whole_and_unrolled_layers_are_split_alike():
    every = specs(shapes(), FULL)
    assert all(spec[0] is None for path, spec in every.items() if path.startswith("layers/"))
    unrolled = specs(jax.eval_shape(models.unroll, shapes()), FULL)
    layer = [spec for path, spec in unrolled.items() if "self_attn/q_proj/kernel" in path]
    assert layer == [("fsdp", "model")] * 2


def test_adapters_follow_their_kernels():
    lora = jax.eval_shape(lambda: adapters.lora.init(jax.random.key(0), shapes(), 4, 8, ("all",)))
    found = specs(lora, FULL)
    q, o = "layers/self_attn/q_proj/kernel", "layers/self_attn/o_proj/kernel"
    assert found[f"{q}/a"] == (None, "fsdp", None)
    assert found[f"{q}/b"] == (None, None, "model")
    assert found[f"{o}/a"] == (None, "model", None)
    assert found[f"{o}/b"] == (None, None, "fsdp")
    assert found[f"{q}/scale"] == (None,)
    state = jax.eval_shape(lambda a: training.begin(a, training.Hyper(1e-3, 1)).optimizer, lora)
    moments = specs(state, FULL)
    for path in (f"{q}/a", f"{q}/b", f"{o}/a", f"{o}/b"):
        assert moments[f"mean/{path}"] == moments[f"square/{path}"] == found[path]
    many = specs(jax.tree.map(lambda x: jax.ShapeDtypeStruct((8, *x.shape), x.dtype), lora), FULL, rule=adapters_spec)
    assert many[f"{q}/b"] == (("data", "fsdp"), None, None, "model")
    assert many[f"{o}/b"] == (("data", "fsdp"), None, None, None)
    attached = jax.eval_shape(adapters.attach, shapes(), lora)
    inside = specs(attached, FULL)
    assert inside[f"{q}/base"] == (None, "fsdp", "model")
    assert inside[f"{o}/a"] == (None, "model", None)


def test_singular_vectors_follow_their_kernels():
    factors = jax.eval_shape(lambda: adapters.svf.factor(models.init(jax.random.key(0), LLAMA), ("all",)))
    found = specs(factors, FULL)
    up, down = "layers/mlp/up_proj/kernel", "layers/mlp/down_proj/kernel"
    assert found[f"{up}/u"] == (None, "fsdp", None)
    assert found[f"{up}/vt"] == (None, "fsdp", "model")
    assert found[f"{down}/u"] == (None, "model", "fsdp")
    assert found[f"{down}/vt"] == (None, None, "fsdp")
    assert found[f"{up}/s"] == (None, None)


def test_used_weights_are_gathered_over_fsdp_alone():
    found = specs(shapes(), FULL, rule=used_spec)
    assert found["layers/mlp/up_proj/kernel"] == (None, None, "model")
    assert found["layers/mlp/down_proj/kernel"] == (None, "model", None)


def test_what_does_not_divide_stays_whole():
    odd = models.Config("llama", 63, 32, 50, 2, 4, 2, 8, 128)
    found = specs(shapes(odd), "data=2,model=4", odd)
    assert found["embed_tokens/embedding"] == (None, None)
    assert found["layers/mlp/up_proj/kernel"] == found["layers/mlp/down_proj/kernel"] == (None, None, None)


@pytest.mark.parametrize(
    ("spec", "sizes", "notes"),
    [
        ("data=8", {}, []),
        (FULL, {}, []),
        ("data=2,model=4", {}, ["keys and values are whole on each device: there are 2 heads of them for model=4"]),
        ("model=8", {}, ["attention is whole on each device: model=8 does not split 4 heads over 2"]),
        (
            "data=4,model=2",
            {"intermediate_size": 49, "vocab_size": 65},
            [
                "the MLP is whole on each device: model=2 does not divide its size 49",
                "the vocabulary is whole on each device: model=2 does not divide its size 65",
            ],
        ),
    ],
)
def test_what_stays_whole_is_said(spec, sizes, notes):
    assert check_mesh(dataclasses.replace(LLAMA, **sizes), make_mesh(spec)) == notes


def test_an_axis_that_splits_nothing_is_refused():
    odd = models.Config("llama", 64, 36, 50, 2, 3, 3, 12, 128)
    with pytest.raises(ValueError, match="fsdp=8 does not divide this model's width 36"):
        check_mesh(odd, make_mesh("fsdp=8"))
    with pytest.raises(ValueError, match=r"model=4 splits neither attention nor the MLP.*its 3 heads"):
        check_mesh(odd, make_mesh("data=2,model=4"))


def test_rules_need_shapes_alone():
    leaf = jax.ShapeDtypeStruct((2, 32, 48), jnp.bfloat16)
    path = tuple(jax.tree_util.DictKey(k) for k in ("layers", "mlp", "up_proj", "kernel"))
    assert param_spec(path, leaf, make_mesh(FULL), LLAMA) == P(None, "fsdp", "model")
