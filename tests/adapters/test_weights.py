"""The laws of every weight kind. A kind is one row of WEIGHTS: how to draw one, and which of its fields are trained."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax.adapters import SVF, LoRA, SVFMix, attach, dot, is_weight, materialize, svf
from seal_jax.adapters.weights import dense, shape_of

IN, OUT, RANK, EXPERTS, STACK = 6, 9, 3, 2, 4
K = min(IN, OUT)


def normal(key, *shape):
    return jax.random.normal(key, shape)


def plain(key):
    return normal(key, IN, OUT)


def lora(key, base=plain):
    keys = jax.random.split(key, 3)
    return LoRA(base(keys[0]), normal(keys[1], IN, RANK), normal(keys[2], RANK, OUT))


def factors(key):
    u, s, vt = jnp.linalg.svd(plain(key), full_matrices=False)
    return u, s, vt


def svf_weight(key):
    return SVF(*factors(key), z=0.5 + jax.random.uniform(key, (K,)))


def svf_mix(key):
    return SVFMix(*factors(key), zs=jax.random.uniform(key, (EXPERTS, K)), alpha=jax.random.uniform(key, (EXPERTS,)))


WEIGHTS = {
    "array": (plain, ()),
    "lora": (lora, ("a", "b")),
    "svf": (svf_weight, ("z",)),
    "svf_mix": (svf_mix, ("zs", "alpha")),
    "lora_over_lora": (partial(lora, base=lora), ("a", "b")),
    "lora_over_svf": (partial(lora, base=svf_weight), ("a", "b")),
    "lora_over_svf_mix": (partial(lora, base=svf_mix), ("a", "b")),
}
every_kind = pytest.mark.parametrize("kind", WEIGHTS)


def make(kind, key=0):
    return WEIGHTS[kind][0](jax.random.key(key))


def make_stack(kind, count=STACK):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(make(kind, key) for key in range(count)))


@every_kind
@pytest.mark.parametrize("lead", [(), (5,), (2, 5), (2, 1, 5)], ids=str)
def test_dot_is_the_product_with_what_it_stands_for(kind, lead):
    weight, x = make(kind), normal(jax.random.key(9), *lead, IN)
    got = dot(weight, x)
    assert got.shape == (*lead, OUT)
    np.testing.assert_allclose(got, x @ materialize(weight), atol=1e-5)


@every_kind
def test_shape_is_that_of_the_array(kind):
    assert shape_of(make(kind)) == materialize(make(kind)).shape == (IN, OUT)
    assert shape_of(make_stack(kind)) == (STACK, IN, OUT)
    assert is_weight(make(kind)) == (kind != "array")


@every_kind
def test_result_has_the_dtype_of_the_input(kind):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.shape == (IN, OUT) else x, make(kind))
    x = normal(jax.random.key(9), 5, IN)
    exact = dot(make(kind), x)
    got = dot(half, x.astype(jnp.bfloat16))
    assert got.dtype == jnp.bfloat16
    assert dot(half, x).dtype == jnp.float32
    assert float(jnp.abs(got.astype(jnp.float32) - exact).max()) < 0.03 * float(jnp.abs(exact).max())


@every_kind
def test_materialized_array_keeps_the_dtype_of_the_base(kind):
    float_fields = ("s", "z", "zs", "alpha", "a", "b")
    half = jax.tree_util.tree_map_with_path(
        lambda path, x: x if path and path[-1].name in float_fields else x.astype(jnp.bfloat16), make(kind)
    )
    assert materialize(half).dtype == jnp.bfloat16
    np.testing.assert_allclose(materialize(half).astype(jnp.float32), materialize(make(kind)), rtol=0.03, atol=0.05)


@every_kind
def test_gradient_is_that_through_the_materialized_array(kind):
    weight, x, y = make(kind), normal(jax.random.key(9), 5, IN), normal(jax.random.key(8), 5, OUT)
    through_dot = jax.grad(lambda w: (dot(w, x) * y).sum())(weight)
    through_array = jax.grad(lambda w: (x @ dense(w) * y).sum())(weight)
    jax.tree.map(lambda g, h: np.testing.assert_allclose(g, h, atol=2e-5), through_dot, through_array)
    for name in WEIGHTS[kind][1]:
        assert float(jnp.abs(getattr(through_dot, name)).max()) > 1e-2


@every_kind
def test_many_at_once_are_one_by_one(kind):
    many, x = make_stack(kind), normal(jax.random.key(9), 5, IN)
    got = jax.vmap(dot, in_axes=(0, None))(many, x)
    for i in range(STACK):
        np.testing.assert_allclose(got[i], dot(make(kind, i), x), atol=1e-5)


@every_kind
def test_a_stack_scans_slices_and_materializes(kind):
    many, x = make_stack(kind), normal(jax.random.key(9), 5, IN)
    _, scanned = jax.lax.scan(lambda carry, w: (carry, dot(w, x)), 0, many)
    for i in range(STACK):
        np.testing.assert_allclose(scanned[i], dot(jax.tree.map(lambda leaf, i=i: leaf[i], many), x), atol=1e-5)
        np.testing.assert_allclose(materialize(many)[i], materialize(make(kind, i)), atol=1e-5)


@every_kind
def test_values_change_without_a_new_program(kind):
    traces = []

    @jax.jit
    def run(w, x):
        traces.append(1)
        return dot(w, x)

    x = normal(jax.random.key(9), 5, IN)
    outputs = [run(make(kind, key), x) for key in range(3)]
    assert len(traces) == 1
    assert float(jnp.abs(outputs[0] - outputs[1]).max()) > 1e-2


def test_materialize_maps_a_tree_and_leaves_arrays_alone():
    tree = {"x": {"kernel": make("lora_over_svf"), "bias": jnp.arange(3.0)}, "layers": (make("svf"), make("array"))}
    got = materialize(tree)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(got))
    assert got["x"]["bias"] is tree["x"]["bias"]
    assert jax.tree.map(jnp.shape, got) == {
        "x": {"kernel": (IN, OUT), "bias": (3,)},
        "layers": ((IN, OUT), (IN, OUT)),
    }


def test_a_mix_of_one_expert_is_that_expert():
    one = make("svf")
    mixed = SVFMix(one.u, one.s, one.vt, zs=jnp.stack([one.z, 2 * one.z]), alpha=jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(materialize(mixed), materialize(one), atol=1e-6)


# The recorded composition of the released Transformer-squared code. Torch keeps [out, in], we keep [in, out].


@pytest.fixture(scope="module")
def golden(shared_data):
    with np.load(shared_data / "golden" / "svf.npz") as data:
        return {name: data[name] for name in data.files}


def composed(golden, raw, compose="scaled"):
    params = {"x": {"kernel": jnp.asarray(golden["W"].T, jnp.float32)[None]}}
    expert = {"x/kernel": {"raw": jnp.asarray(raw, jnp.float32)[None]}}
    weight = attach(params, expert, svf.factor(params, "x"), compose)["x"]["kernel"]
    return jax.tree.map(lambda leaf: leaf[0], weight)


def assert_near(got, wanted, rtol):
    error = np.linalg.norm(np.asarray(got, np.float64) - wanted) / np.linalg.norm(wanted)
    assert error < rtol


def test_composed_weight_is_the_recorded_one(golden):
    weight = composed(golden, golden["raw"])
    assert_near(materialize(weight), golden["W_prime"].T, 1e-5)
    assert_near(dot(weight, jnp.asarray(golden["x"], jnp.float32)), golden["y"], 1e-5)
    bf16_z = np.log(golden["z_bf16"].astype(np.float64)) - np.log1p(-golden["z_bf16"].astype(np.float64))
    assert_near(materialize(composed(golden, bf16_z)), golden["W_prime_ref_fp32"].T, 1e-5)


def test_plain_composition_leaves_the_scale_out(golden):
    assert abs(golden["scale"] - 1) > 0.1
    assert_near(materialize(composed(golden, golden["raw"], "plain")), golden["W_prime"].T / golden["scale"], 1e-5)


def test_gradient_is_the_recorded_one(golden):
    upstream = jnp.asarray(golden["G"].T, jnp.float32)
    raw = jnp.asarray(golden["raw"])
    got = jax.grad(lambda raw: (materialize(composed(golden, raw)) * upstream).sum())(raw)
    assert_near(got, golden["grad_raw"], 5e-5)


def test_mixture_is_the_recorded_one(golden):
    one = composed(golden, golden["raw"])
    zs = jax.nn.sigmoid(jnp.asarray(golden["expert_raws"]))
    alpha = jnp.asarray(golden["alpha"], jnp.float32)
    mixed = SVFMix(one.u, one.s, one.vt, zs, alpha * one.s.sum() / (one.s * (alpha @ zs)).sum())
    assert_near(materialize(mixed), golden["W_mix_sigmoid"].T, 1e-5)
