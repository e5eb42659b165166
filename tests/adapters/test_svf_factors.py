"""Decompositions: truncated ones, those of other parameter trees than our decoder's, and where they live on a mesh."""

import re
from functools import partial

import flax.linen as nn
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st
from jax.sharding import NamedSharding

from seal_jax import generation, models, training
from seal_jax.adapters import attach, lora, materialize, select, svf
from seal_jax.runtime import mesh as meshes
from seal_jax.runtime import placement

CONFIG = models.Config("llama", 48, 16, 24, 2, 2, 2, 8, 64)
UP = "layers/mlp/up_proj/kernel"


@pytest.fixture(scope="module")
def params():
    params = models.init(jax.random.key(0), CONFIG)
    return jax.tree.map(lambda x: x * 10 if x.std() else x, params)


@hypothesis.given(shape=st.tuples(st.integers(1, 5), st.integers(1, 5)), rank=st.integers(1, 6), seed=st.integers(0, 9))
@hypothesis.settings(max_examples=12, deadline=None)
def test_factors_and_what_they_leave_out_are_the_kernel(shape, rank, seed):
    """The best approximation of that rank; its energy and what is reported as left out are that of the kernel."""
    kernel = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    params = {"x": {"kernel": kernel}}
    [(path, f)] = svf.factor(params, "x", rank=rank).items()
    k = min(rank, *shape)
    assert {name: x.shape for name, x in f.items()} == {"u": (shape[0], k), "s": (k,), "vt": (k, shape[1])}
    np.testing.assert_allclose(f["u"].T @ f["u"], np.eye(k), atol=1e-5)
    rest = kernel - np.asarray(f["u"] * f["s"][None] @ f["vt"])
    left_out = svf.discarded_energy(params, {path: f})[path]
    np.testing.assert_allclose(left_out, np.square(rest).sum() / np.square(kernel).sum(), atol=1e-5)
    assert (np.asarray(left_out) < 1e-5) == (k == min(shape)) or np.square(rest).sum() < 1e-4


def test_discarded_energy_is_by_matrix_and_layer(params):
    energy = svf.discarded_energy(params, svf.factor(params, "mlp", rank=5))
    assert jax.tree.map(jnp.shape, energy) == dict.fromkeys(select(params, "mlp"), (2,))
    values = np.linalg.svd(np.asarray(select(params, "mlp")[UP]), compute_uv=False)
    wanted = 1 - (values[:, :5] ** 2).sum(-1) / (values**2).sum(-1)
    np.testing.assert_allclose(energy[UP], wanted, rtol=1e-4)
    assert (energy[UP] > 0.1).all()


def test_sizes_come_from_shapes_alone(params):
    shapes = svf.shapes(jax.eval_shape(lambda: params), "all", rank=5)
    found = svf.factor(params, "all", rank=5)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), shapes) == jax.tree.map(lambda x: (x.shape, x.dtype), found)
    assert svf.size_of(shapes) == svf.size_of(found) == sum(x.nbytes for x in jax.tree.leaves(found))


def test_factors_of_an_8b_model_take_as_much_as_is_published():
    """14.5 GB of u and vt for the MLPs, 19.5 GB for all kernels of the layers, in bfloat16."""
    config = models.Config("llama", 128256, 4096, 14336, 32, 32, 8, 128, 8192)
    half = jax.eval_shape(lambda: models.init(jax.random.key(0), config, "bfloat16"))
    assert 14.49e9 < svf.size_of(svf.shapes(half)) < 14.51e9
    assert 19.4e9 < svf.size_of(svf.shapes(half, "all")) < 19.6e9


@pytest.mark.parametrize("rank", [0, -1])
def test_a_factorisation_of_no_rank_is_refused(params, rank):
    with pytest.raises(ValueError, match=f"rank={rank}"):
        svf.factor(params, "mlp", rank=rank)


# A vision transformer in Flax: names, shapes and layers of its own.


class ViT(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.Conv(16, (4, 4), (4, 4), name="embedding")(images).reshape(len(images), -1, 16)
        for i in range(2):
            y = nn.LayerNorm(name=f"norm_{i}")(x)
            x = x + nn.MultiHeadDotProductAttention(2, name=f"attention_{i}")(y, y)
            y = nn.gelu(nn.Dense(24, name=f"expand_{i}")(x))
            x = x + nn.Dense(16, name=f"contract_{i}")(y)
        return nn.Dense(3, name="head")(x.mean(1))


@pytest.fixture(scope="module")
def vit():
    """The module, its variables, and images."""
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    with jax.numpy_rank_promotion("allow"):
        return ViT(), ViT().init(jax.random.key(0), images), images


def is_kernel_of_mlp(path, leaf):
    return leaf.ndim == 2 and ("expand" in path or "contract" in path)


MLPS = {f"params/{name}_{i}/kernel" for name in ("expand", "contract") for i in (0, 1)}


@pytest.mark.parametrize(
    ("targets", "paths"),
    [
        (is_kernel_of_mlp, MLPS),
        (sorted(MLPS), MLPS),
        (("head", "params/expand_0/kernel"), {"params/head/kernel", "params/expand_0/kernel"}),
        ("expand_1", {"params/expand_1/kernel"}),
    ],
)
def test_kernels_of_another_tree_are_chosen_by_predicate_path_or_name(vit, targets, paths):
    assert select(vit[1], targets).keys() == paths == svf.factor(vit[1], targets).keys()


@pytest.mark.parametrize("form", ["factored", "residual", "materialized"])
def test_an_expert_trains_in_another_tree(vit, form):
    """Equal scales are the model; a few steps on z alone lower a loss, and change nothing but the chosen kernels."""
    module, variables, images = vit
    factors = svf.factor(variables, is_kernel_of_mlp)
    expert = svf.init(jax.random.key(2), factors, std=0.0)
    labels = jnp.array([0, 1, 2, 0])

    def logits(expert):
        return module.apply(materialize(attach(variables, expert, factors, form=form)), images)

    def loss(expert):
        return optax.softmax_cross_entropy_with_integer_labels(logits(expert), labels).mean()

    with jax.numpy_rank_promotion("allow"):
        np.testing.assert_allclose(logits(expert), module.apply(variables, images), atol=1e-5)
        step = jax.jit(jax.value_and_grad(loss))
        first, _ = step(expert)
        for _ in range(20):
            value, grads = step(expert)
            expert = jax.tree.map(lambda p, g: p - 3.0 * g, expert, grads)
    assert value < first - 0.01
    merged = materialize(attach(variables, expert, factors, form=form))
    changed = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(merged), jax.tree.leaves(variables))
        if np.abs(x - y).max() > 1e-4
    }
    assert changed == MLPS


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ("query", ["params/attention_0/query/kernel", "(16, 2, 8)", "[in, out]", "predicate", "reshape"]),
        (lambda path, leaf: "embedding" in path and leaf.ndim > 1, ["params/embedding/kernel", "(4, 4, 3, 16)"]),
        (("params/expand_0/bias",), ["params/expand_0/bias", "(24,)"]),
        (("params/expand_9/kernel",), ["'params/expand_9/kernel' is no path", "'params/expand_0/kernel'"]),
        ("mlp", ["target 'mlp' matches no kernel", "contract_0", "head"]),
        (lambda path, leaf: False, ["selects none of the", "arrays, such as", "kernel"]),
    ],
)
def test_what_is_no_matrix_is_refused_by_name(vit, targets, words):
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        svf.factor(vit[1], targets)
    assert all(word in str(caught.value) for word in words)
    with pytest.raises(ValueError, match=re.escape(words[0])):
        lora.init(jax.random.key(0), vit[1], targets=targets)


def test_layers_that_have_numbers_are_not_stacked():
    """Flax ports of transformers keep layers as {"layers": {"0": ...}}."""
    kernel = jnp.arange(6.0).reshape(2, 3)
    params = {"layers": {str(i): {"fc": {"kernel": kernel + i}} for i in range(2)}}
    factors = svf.factor(params, "fc")
    assert factors["layers/1/fc/kernel"]["s"].shape == (2,)
    expert = {path: {"z": jnp.ones(2)} for path in factors}
    same = materialize(attach(params, expert, factors))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), same, params)
    with pytest.raises(ValueError, match=r"layers/fc/kernel has shape \(2, 3\), .* \[L, in, out\]"):
        svf.factor({"layers": {"fc": {"kernel": kernel}}}, "fc")


# On a mesh.


@pytest.fixture(scope="module")
def sharded(params):
    mesh = meshes.make_mesh("data=2,fsdp=2,model=2")
    return mesh, placement.shard_params(params, mesh, CONFIG)


@pytest.mark.parametrize("rank", [None, 6, 5])
def test_factors_are_split_by_the_rules_and_are_those_of_one_device(params, sharded, rank):
    mesh, placed = sharded
    found, wanted = svf.factor(placed, "all", rank), svf.factor(params, "all", rank)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(wanted)):
        rule = NamedSharding(mesh, placement.param_spec(path, x, mesh, CONFIG))
        assert x.sharding.is_equivalent_to(rule, x.ndim), (path, x.sharding.spec, rule.spec)
        np.testing.assert_allclose(jnp.abs(np.asarray(x)), jnp.abs(y), atol=1e-4)  # up to the sign of a pair


@pytest.mark.parametrize("form", ["factored", "residual", "materialized"])
def test_an_expert_on_a_mesh_is_that_of_one_device(params, sharded, form):
    mesh, placed = sharded
    factors = svf.factor(params, "mlp")
    split = placement.shard_params(factors, mesh, CONFIG)
    expert = svf.init(jax.random.key(1), factors, mean=0.0, std=1.5)
    tokens = jnp.arange(28, dtype=jnp.int32).reshape(4, 7)

    @partial(jax.jit, static_argnums=4)
    def run(params, factors, expert, tokens, form):
        def loss(expert):
            return models.forward(attach(params, expert, factors, form=form), CONFIG, tokens).std()

        return jax.value_and_grad(loss)(expert)

    value, grads = run(params, factors, expert, tokens, "factored")
    with meshes.use(mesh):
        rows = meshes.shard_leading(tokens, mesh)
        on_mesh, grads_on_mesh = run(placed, split, meshes.replicate(expert, mesh), rows, form)
    np.testing.assert_allclose(on_mesh, value, rtol=1e-5)
    jax.tree.map(lambda g, h: np.testing.assert_allclose(g, h, atol=2e-6), grads_on_mesh, grads)


def test_a_bank_of_experts_on_a_mesh(params, sharded):
    """N experts trained and served at once, raw and z split over the rows' axes, z stacked over layers."""
    mesh, placed = sharded
    factors = svf.factor(params, "mlp")
    split = placement.shard_params(factors, mesh, CONFIG)
    drawn = [svf.init(jax.random.key(n), factors, mean=0.0, std=1.5) for n in range(4)]
    raws = jax.tree.map(lambda *x: jnp.stack(x), *drawn)
    zs = {path: {"z": jax.nn.sigmoid(entry["raw"])} for path, entry in raws.items()}
    placed_zs = placement.shard_adapters(zs, mesh, CONFIG)
    assert placed_zs[UP]["z"].sharding.spec[0] == meshes.ROWS
    prompts = [[[3, 4, 5]], [[6, 7]], [[8]], [[9, 10]]]
    how = {"max_new_tokens": 4, "eos": ()}
    wanted = generation.generate_batch(params, CONFIG, zs, prompts, None, factors=factors, **how)
    found = generation.generate_batch(placed, CONFIG, placed_zs, prompts, None, factors=split, **how)
    assert [out.tokens for out in found] == [out.tokens for out in wanted]
    tokens = jnp.tile(jnp.arange(12, dtype=jnp.int32).reshape(1, 1, 2, 6), (4, 2, 1, 1))
    batches = {"tokens": tokens, "mask": jnp.ones(tokens.shape, bool)}
    hyper = training.Hyper(1e-2, 2)
    one, metrics = training.finetune_batch(params, CONFIG, zs, batches, hyper, factors=factors)
    many, on_mesh = training.finetune_batch(
        placed, CONFIG, placed_zs, meshes.shard_leading(batches, mesh), hyper, factors=split
    )
    np.testing.assert_allclose(on_mesh["loss"], metrics["loss"], rtol=1e-4)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), many, one)
    assert metrics["loss"][0, 1] < metrics["loss"][0, 0]
