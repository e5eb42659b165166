"""The laws of every weight kind. A kind is one row of WEIGHTS: how to draw one, and which of its fields are trained."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax.adapters import SVF, LoRA, SVFMix, SVFResidual, dot, is_weight, materialize
from seal_jax.adapters.weights import composed, dense, shape_of

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


def svf_residual(key, base=plain):
    u, _, vt = factors(key)
    return SVFResidual(base(key), u[:, :RANK], normal(key, RANK), vt[:RANK])


def svf_composed(key):
    return composed(svf_residual(key))


WEIGHTS = {
    "array": (plain, ()),
    "lora": (lora, ("a", "b")),
    "svf": (svf_weight, ("z",)),
    "svf_mix": (svf_mix, ("zs", "alpha")),
    "svf_residual": (svf_residual, ("delta",)),
    "svf_composed": (svf_composed, ("delta",)),
    "svf_residual_over_lora": (partial(svf_residual, base=lora), ("delta",)),
    "lora_over_lora": (partial(lora, base=lora), ("a", "b")),
    "lora_over_svf": (partial(lora, base=svf_weight), ("a", "b")),
    "lora_over_svf_composed": (partial(lora, base=svf_composed), ("a", "b")),
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
    float_fields = ("s", "z", "delta", "zs", "alpha", "a", "b")
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
