"""Whose expert it is: the base's fingerprint, whatever it was loaded in, and what does not fit together."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters, models
from seal_jax.runtime import mesh, placement
from seal_jax.transformer2 import ExpertError, make_expert
from seal_jax.transformer2.base_fingerprint import base_fingerprint
from seal_jax.transformer2.experts import Expert, check, check_base, kernel_shape, kind_of, library_path

CONFIG = models.Config("llama", 64, 32, 48, 2, 4, 2, 8, 64)
UP = "layers/mlp/up_proj/kernel"


def fresh(seed=0, config=CONFIG):
    return models.init(jax.random.key(seed), config)


@pytest.fixture(scope="module")
def params():
    return fresh()


@pytest.fixture(scope="module")
def factors(params):
    return adapters.svf.factor(params, ("up_proj", "down_proj"))


@pytest.fixture(scope="module")
def expert(params, factors):
    trained = adapters.svf.init(jax.random.key(1), factors, std=1.0)
    return make_expert(trained, params, task="sums", seed=3, score=0.5)


def test_a_base_has_one_fingerprint_in_either_precision(params):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    found = base_fingerprint(params)
    assert len(found) == 32
    assert base_fingerprint(half) == found
    assert base_fingerprint(jax.tree.map(lambda x: x.astype(jnp.float32), half)) == found


def test_scanned_unrolled_and_split_over_devices_it_is_the_same_base(params):
    found = base_fingerprint(params)
    assert base_fingerprint(models.unroll(params)) == found
    on = placement.shard_params(params, mesh.make_mesh("data=2,fsdp=2,model=2"), CONFIG)
    assert base_fingerprint(on) == found


def test_another_value_name_or_shape_is_another_base(params):
    kernel = params["layers"]["mlp"]["up_proj"]["kernel"]
    swap = lambda new: {**params, "layers": {**params["layers"], "mlp": {**params["layers"]["mlp"], **new}}}  # noqa: E731
    others = [
        swap({"up_proj": {"kernel": kernel.at[1, 2, 3].multiply(1.01)}}),
        swap({"up_proj": {"kernel": kernel.swapaxes(1, 2)}}),
        swap({"up_proj": {"kernel": kernel, "bias": jnp.zeros((2, 48))}}),
        swap({"up": {"kernel": kernel}}),
        fresh(1),
    ]
    found = [base_fingerprint(tree) for tree in (params, *others)]
    assert len(set(found)) == len(found)


def test_what_an_expert_says_of_itself(expert, params):
    assert kind_of(expert) == "raw"
    assert set(expert.meta.targets) == {"up_proj", "down_proj"}
    assert expert.meta.shapes == {UP: (2, 32, 48), "layers/mlp/down_proj/kernel": (2, 48, 32)}
    assert (expert.meta.seed, expert.meta.score, expert.meta.base) == (3, 0.5, base_fingerprint(params))
    assert make_expert(expert.adapter, params, task="t", base="known", score=float("nan")).meta.score is None
    assert make_expert(expert.adapter, params, task="t", targets="mlp").meta.targets == ("mlp",)


def test_kernels_are_found_in_either_tree(params):
    for tree in (params, models.unroll(params)):
        assert kernel_shape(tree, UP) == (2, 32, 48)
        assert kernel_shape(tree, "layers/mlp/up_proj") is None
        assert kernel_shape(tree, "layers/mlp/up_proj/kernel/more") is None
        assert kernel_shape(tree, "layers") is None
        assert kernel_shape(tree, "norm/scale") is None


def test_a_tree_that_is_no_decoder():
    tree = {"encoder": {"patch": {"weight": jnp.eye(6, 4)}}}
    found = make_expert({"encoder/patch/weight": {"z": jnp.ones(4)}}, tree, task="vision")
    assert found.meta.targets == ("encoder/patch/weight",)
    check_base(found, tree, "it")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, m: ({}, {**m, "shapes": {}}), "found: none"),
        (lambda a, m: ({UP: {"raw": a[UP]["raw"], "z": a[UP]["raw"]}}, m), r"found: \[raw, z\]"),
        (lambda a, m: ({**a, UP: {"z": a[UP]["raw"]}}, m), "found: raw, z"),
        (lambda a, m: (a, {**m, "compose": "summed"}), "compose='summed' is not one of scaled, plain"),
        (lambda a, m: (a, {**m, "targets": ("attention",)}), "_proj/kernel is none of its targets, attention"),
        (lambda a, m: ({UP: a[UP]}, m), "only one of them has layers/mlp/down_proj/kernel"),
        (lambda a, m: ({**a, UP: {"raw": a[UP]["raw"].at[0, 1].set(jnp.nan)}}, m), "raw has NaN or inf"),
        (lambda a, m: ({**a, UP: {"raw": a[UP]["raw"].at[0, 1].set(-jnp.inf)}}, m), "raw has NaN or inf"),
        (lambda a, m: ({**a, UP: {"raw": a[UP]["raw"][0]}}, m), r"raw has shape \(32,\).*raw of shape \(2, 32\)"),
        (lambda a, m: ({**a, UP: {"raw": jnp.zeros((2, 33))}}, m), r"raw has shape \(2, 33\)"),
        (lambda a, m: ({**a, UP: {"raw": jnp.zeros(())}}, m), r"raw has shape \(\)"),
    ],
)
def test_what_does_not_agree(expert, change, message):
    adapter, meta = change(expert.adapter, expert.meta._asdict())
    with pytest.raises(ExpertError, match="^it: .*" + message):
        check(Expert(adapter, expert.meta._replace(**meta)), "it")


def test_lora_shapes(params):
    lora = adapters.lora.init(jax.random.key(0), params, rank=2, targets=("q_proj",))
    found = make_expert(lora, params, task="t")
    assert kind_of(found) == "lora"
    [path] = lora
    with pytest.raises(ExpertError, match=r"b has shape \(2, 3, 32\); .* takes b of shape \(2, 2, 32\)"):
        make_expert({path: {**lora[path], "b": jnp.zeros((2, 3, 32))}}, params, task="t")
    with pytest.raises(ExpertError, match="layers/mlp/none/kernel: the base model has no such kernel"):
        make_expert({"layers/mlp/none/kernel": lora[path]}, params, task="t")


def test_another_base_is_refused_with_both_fingerprints(expert):
    other = fresh(1)
    with pytest.raises(ExpertError) as caught:
        check_base(expert, other, "sums.safetensors")
    for word in (
        "sums.safetensors",
        expert.meta.base,
        base_fingerprint(other),
        "allow_transfer=True (--allow-transfer)",
    ):
        assert word in str(caught.value)
    check_base(expert, other, "it", allow_transfer=True)
    with pytest.raises(ExpertError, match=rf"{expert.meta.base} \(llama-8b\).* known"):
        check_base(expert._replace(meta=expert.meta._replace(base_name="llama-8b")), other, "it", base="known")


@pytest.mark.parametrize(
    ("config", "fits", "message"),
    [
        (dataclasses.replace(CONFIG, intermediate_size=80), True, ""),  # 32 singular values all the same
        (dataclasses.replace(CONFIG, num_layers=3), False, r"was a kernel \(2, .* and is \(3, "),
        (dataclasses.replace(CONFIG, intermediate_size=24), False, r"was a kernel \(2, .*48.* and is \(2, .*24"),
    ],
)
def test_transfer_is_where_the_singular_values_are_as_many(expert, config, fits, message):
    other = jax.eval_shape(lambda: models.init(jax.random.key(1), config))
    if fits:
        check_base(expert, other, "it", allow_transfer=True)
        return
    with pytest.raises(ExpertError, match=message):
        check_base(expert, other, "it", allow_transfer=True)


def test_transfer_of_lora_is_where_shapes_are_equal(params):
    found = make_expert(adapters.lora.init(jax.random.key(0), params, rank=2, targets=("up_proj",)), params, task="t")
    other = jax.eval_shape(lambda: models.init(jax.random.key(1), dataclasses.replace(CONFIG, intermediate_size=80)))
    with pytest.raises(ExpertError, match="layers and in and out are equal"):
        check_base(found, other, "it", allow_transfer=True)
    gone = {**params, "layers": {"mlp": {}}}
    with pytest.raises(ExpertError, match=f"it adapts {UP}, and this model has no such kernel"):
        check_base(found, gone, "it", allow_transfer=True)


def test_a_transferred_expert_acts_by_rank_of_the_singular_values(expert):
    """The first scale meets the other base's largest singular value: the paper's "ordered" transfer."""
    other = fresh(1)
    own = adapters.svf.factor(other, ("up_proj",))
    there = adapters.materialize(adapters.attach(other, {UP: expert.adapter[UP]}, own, "plain"))
    s = np.linalg.svd(there["layers"]["mlp"]["up_proj"]["kernel"], compute_uv=False)
    expected = np.sort(np.asarray(own[UP]["s"] * jax.nn.sigmoid(expert.adapter[UP]["raw"])), axis=-1)[:, ::-1]
    np.testing.assert_allclose(s, expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", 3])
def test_names_of_experts_are_names_of_files(name, tmp_path):
    with pytest.raises(ExpertError, match="is no name for an expert"):
        library_path(tmp_path, name)
