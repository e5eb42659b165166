"""SVF against the recorded arithmetic of the released Transformer-squared code.

Torch keeps kernels as [out, in], we as [in, out].
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import models
from seal_jax.adapters import SVFMix, attach, dot, lora, materialize, svf
from seal_jax.training.trainable import trainable

FORMS = ("factored", "residual", "materialized")


@pytest.fixture(scope="module")
def golden(shared_data):
    with np.load(shared_data / "golden" / "svf.npz") as data:
        return {name: data[name] for name in data.files}


def error(got, wanted):
    """Relative, in the Frobenius norm."""
    return np.linalg.norm(np.asarray(got, np.float64) - wanted) / np.linalg.norm(wanted)


def composed(golden, entry, compose="scaled", form="factored", dtype=jnp.float32):
    """The adapted weight of the recorded matrix; entry: raw or z by name, `[k]`."""
    params = {"x": {"kernel": jnp.asarray(golden["W"].T, dtype)[None]}}
    params = {"layers": params}
    [(path, factors)] = svf.factor(params, "x").items()
    expert = {path: {name: jnp.asarray(x, jnp.float32)[None] for name, x in entry.items()}}
    weight = attach(params, expert, {path: factors}, compose, form)["layers"]["x"]["kernel"]
    return jax.tree.map(lambda leaf: leaf[0], weight)


@pytest.mark.parametrize("form", FORMS)
def test_composed_weight_and_output_are_the_recorded_ones(golden, form):
    weight = composed(golden, {"raw": golden["raw"]}, form=form)
    assert error(materialize(weight), golden["W_prime"].T) < 1e-5
    assert error(dot(weight, jnp.asarray(golden["x"], jnp.float32)), golden["y"]) < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_composition_of_given_scales(golden, form):
    """z_f64 is the sigmoid of raw; z_bf16 what the release rounds it to."""
    exact = composed(golden, {"z": golden["z_f64"]}, form=form)
    assert error(materialize(exact), golden["W_prime"].T) < 1e-5
    rounded = composed(golden, {"z": golden["z_bf16"].astype(np.float32)}, form=form)
    assert error(materialize(rounded), golden["W_prime_ref_fp32"].T) < 1e-5
    assert 1e-3 < error(materialize(exact), golden["W_prime_ref_fp32"].T) < 4e-3


@pytest.mark.parametrize("form", FORMS)
def test_scale_of_the_scale_vector_does_not_matter(golden, form):
    once = materialize(composed(golden, {"z": golden["z_f64"]}, form=form))
    for factor in (2.0, 0.01, float(golden["max_mult"]), -1.0):
        assert error(materialize(composed(golden, {"z": factor * golden["z_f64"]}, form=form)), once) < 1e-5


def test_plain_composition_leaves_the_scale_out(golden):
    assert abs(golden["scale"] - 1) > 0.1
    for form in FORMS:
        weight = composed(golden, {"raw": golden["raw"]}, "plain", form)
        assert error(materialize(weight), golden["W_prime"].T / golden["scale"]) < 1e-5


def test_the_sum_of_singular_values_is_kept(golden):
    for name in ("W_prime", "W_mix_sigmoid"):
        entry = {"W_prime": {"raw": golden["raw"]}, "W_mix_sigmoid": {"z": golden["z_mix_sigmoid"]}}[name]
        values = np.linalg.svd(materialize(composed(golden, entry)), compute_uv=False)
        np.testing.assert_allclose(values.sum(), golden["S"].sum(), rtol=1e-5)


def test_bfloat16_at_its_stated_error(golden):
    """The release has everything in bfloat16. Here z, s and the scale are float32, and the residual form rounds least.

    Factors are the recorded ones: those of a rounded matrix turn where singular values are near one another.
    """
    release = error(golden["W_prime_ref_bf16"].T.astype(np.float64), golden["W_prime"].T)
    np.testing.assert_allclose(release, 5.55e-3, rtol=0.01)
    path, half = "layers/x/kernel", jnp.bfloat16
    u, s, vt = (jnp.asarray(golden[name])[None] for name in ("V", "S", "U"))
    factors = {path: {"u": u.astype(half), "s": s, "vt": vt.swapaxes(1, 2).astype(half)}}

    def composed_error(form, dtype):
        params = {"layers": {"x": {"kernel": jnp.asarray(golden["W"].T, dtype)[None]}}}
        adapted = attach(params, {path: {"raw": golden["raw"][None]}}, factors, form=form)
        return error(materialize(adapted)["layers"]["x"]["kernel"][0], golden["W_prime"].T)

    rounding = error(jnp.asarray(golden["W"], half), golden["W"])
    assert composed_error("factored", half) < 0.55 * release
    for form in ("residual", "materialized"):
        assert composed_error(form, jnp.float32) < 0.1 * release
        assert composed_error(form, half) < 1.6 * rounding  # that of the base, and of the result


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_the_closed_form(golden, form):
    upstream = jnp.asarray(golden["G"].T, jnp.float32)

    def gradient(name, value):
        loss = lambda x: (materialize(composed(golden, {name: x}, form=form)) * upstream).sum()  # noqa: E731
        return jax.grad(loss)(jnp.asarray(value, jnp.float32))

    of_z = gradient("z", golden["z_f64"])
    assert error(gradient("raw", golden["raw"]), golden["grad_raw"]) < 5e-5
    assert error(of_z, golden["grad_z"] * golden["max_mult"]) < 5e-5
    of_z = np.asarray(of_z, np.float64)
    assert abs((golden["z_f64"] * of_z).sum()) < 1e-5 * np.abs(golden["z_f64"] * of_z).sum()


@pytest.mark.parametrize("form", FORMS)
def test_mixtures_are_the_recorded_ones(golden, form):
    """In z (what this library does by default) and in raw (what the release does)."""
    alpha = golden["alpha"].astype(np.float32)
    zs = jax.nn.sigmoid(jnp.asarray(golden["expert_raws"], jnp.float32))
    mixed = composed(golden, {"z": alpha @ zs}, form=form)
    assert error(materialize(mixed), golden["W_mix_sigmoid"].T) < 1e-5
    raw = alpha @ golden["expert_raws"].astype(np.float32)
    assert error(raw, golden["z_mix_rawbug"]) < 1e-5
    # Raw values spread wider: the float32 decomposition alone, with everything after it in float64, gives 1.28e-5.
    assert error(materialize(composed(golden, {"z": raw}, form=form)), golden["W_mix_rawbug"].T) < 3e-5


def test_a_mixture_of_weights_is_a_mixture_of_scales(golden):
    one = composed(golden, {"raw": golden["raw"]})
    zs = jax.nn.sigmoid(jnp.asarray(golden["expert_raws"], jnp.float32))
    alpha = jnp.asarray(golden["alpha"], jnp.float32)
    mixed = SVFMix(one.u, one.s, one.vt, zs, alpha * one.s.sum() / (one.s * (alpha @ zs)).sum())
    assert error(materialize(mixed), golden["W_mix_sigmoid"].T) < 1e-5


def test_one_expert_in_a_mixture_is_that_expert(golden):
    zs = jax.nn.sigmoid(jnp.asarray(golden["expert_raws"], jnp.float32))
    for n, raw in enumerate(golden["expert_raws"]):
        alone = materialize(composed(golden, {"raw": raw}))
        assert error(materialize(composed(golden, {"z": jax.nn.one_hot(n, 3) @ zs})), alone) < 1e-6


LLAMA_8B = models.Config("llama", 128256, 4096, 14336, 32, 32, 8, 128, 8192)
LLAMA_70B = models.Config("llama", 128256, 8192, 28672, 80, 64, 8, 128, 8192)


@pytest.mark.parametrize(
    ("config", "targets", "count"),
    [
        (LLAMA_8B, "mlp", 393_216),
        (LLAMA_8B, ("q_proj", "v_proj"), 163_840),
        (LLAMA_8B, "all", 393_216 + 32 * (4096 + 1024 + 1024 + 4096)),
        (LLAMA_70B, "mlp", 1_966_080),
    ],
)
def test_parameters_of_an_expert_are_the_published_counts(config, targets, count):
    shapes = jax.eval_shape(lambda: models.init(jax.random.key(0), config))
    expert = jax.eval_shape(lambda: svf.init(jax.random.key(0), svf.shapes(shapes, targets)))
    assert sum(leaf.size for leaf in jax.tree.leaves(expert)) == count


@pytest.mark.parametrize(
    ("targets", "count"), [(("q_proj", "v_proj"), 6_815_744), (("q_proj", "v_proj", "mlp"), 35_127_296)]
)
def test_parameters_of_lora_are_the_published_counts(targets, count):
    """Those that SVF is compared with, of rank 16 on Llama-3-8B."""
    shapes = jax.eval_shape(lambda: models.init(jax.random.key(0), LLAMA_8B))
    adapter = jax.eval_shape(lambda p: lora.init(jax.random.key(0), p, 16, 32.0, targets), shapes)
    assert sum(leaf.size for leaf in jax.tree.leaves(trainable(adapter))) == count
