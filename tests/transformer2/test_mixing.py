"""Mixtures: the golden arrays, a mixture of one, columns, and what cannot be mixed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax import adapters
from seal_jax.transformer2 import mixing

PATHS = {"layers/mlp/down_proj/kernel": (2, 4, 6), "layers/mlp/up_proj/kernel": (2, 6, 5)}


@pytest.fixture(scope="module")
def golden(shared_data):
    return dict(np.load(shared_data / "golden" / "svf.npz"))


@pytest.fixture(scope="module")
def experts():
    """Three experts of two matrices in each of two layers."""
    keys = iter(jax.random.split(jax.random.key(0), 6))
    return [
        {path: {"raw": jax.random.normal(next(keys), (shape[0], min(shape[1:])))} for path, shape in PATHS.items()}
        for _ in range(3)
    ]


def golden_case(golden):
    """The golden matrix as a kernel of one layer, its factors, and its experts."""
    path = "layers/mlp/up_proj/kernel"
    factors = {path: {"u": golden["V"][None], "s": golden["S"][None], "vt": golden["U"].T[None]}}
    factors = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), factors)
    params = {"layers": {"mlp": {"up_proj": {"kernel": jnp.asarray(golden["W"].T[None], jnp.float32)}}}}
    return path, params, factors, [{path: {"raw": jnp.asarray(raw)[None]}} for raw in golden["expert_raws"]]


@pytest.mark.parametrize(("mix", "name"), [("z", "sigmoid"), ("raw", "rawbug")])
def test_golden_mixtures(golden, mix, name):
    path, params, factors, experts = golden_case(golden)
    alpha = jnp.asarray(golden["alpha"][:, None], jnp.float32)
    mixture = mixing.mix_experts(experts, alpha, mix=mix)
    np.testing.assert_allclose(mixture[path]["z"][0], golden[f"z_mix_{name}"], rtol=1e-5, atol=1e-6)
    found = adapters.materialize(adapters.attach(params, mixture, factors))["layers"]["mlp"]["up_proj"]["kernel"]
    wanted = golden[f"W_mix_{name}"].T
    assert np.linalg.norm(found[0] - wanted) <= 1e-5 * np.linalg.norm(wanted)


def test_a_mixture_of_one_is_that_expert(golden):
    """Checklist (h). Of z to the last bit; raw mixing, by name, is another matrix."""
    path, params, factors, experts = golden_case(golden)
    dense = lambda a: adapters.materialize(adapters.attach(params, a, factors))["layers"]["mlp"]["up_proj"]["kernel"]  # noqa: E731
    for k, expert in enumerate(experts):
        one = jnp.zeros((3, 1)).at[k].set(1.0)
        mixture = mixing.mix_experts(experts, one)
        np.testing.assert_array_equal(mixture[path]["z"], jax.nn.sigmoid(expert[path]["raw"]))
        np.testing.assert_array_equal(dense(mixture), dense(expert))
        raw = dense(mixing.mix_experts(experts, one, mix="raw"))
        assert np.linalg.norm(raw - dense(expert)) > 0.1 * np.linalg.norm(dense(expert))


@pytest.mark.parametrize("per", ["global", "layer", "matrix"])
def test_columns_are_a_loop(experts, per):
    stacked = mixing.stack_experts(experts)
    count = {"global": 1, "layer": 2, "matrix": 4}[per]
    assert mixing.columns(stacked, per) == count
    alpha = jax.random.uniform(jax.random.key(1), (3, count))
    found = mixing.mixed(stacked, alpha, per)
    for number, path in enumerate(sorted(PATHS)):
        for layer in range(2):
            column = {"global": 0, "layer": layer, "matrix": 2 * number + layer}[per]
            wanted = sum(
                float(alpha[k, column]) / (1 + np.exp(-np.asarray(experts[k][path]["raw"][layer]))) for k in range(3)
            )
            np.testing.assert_allclose(found[path]["z"][layer], wanted, rtol=1e-5)


def test_norm_coeffs_and_columns_of_zeros(experts):
    stacked = mixing.stack_experts(experts)
    alpha = jnp.asarray([[0.2, 0.0], [0.2, 0.0], [0.4, 0.0]])
    plain, divided = (mixing.mixed(stacked, alpha, "layer", norm_coeffs=n) for n in (False, True))
    for path in PATHS:
        np.testing.assert_allclose(divided[path]["z"][0], plain[path]["z"][0] / 0.8, rtol=1e-6)
        np.testing.assert_array_equal(divided[path]["z"][1], 1.0)  # no expert asked for: the base
        np.testing.assert_array_equal(plain[path]["z"][1], 1.0)
    both = jax.vmap(lambda a: mixing.mixed(stacked, a, "layer"))(jnp.stack([alpha, 2 * alpha]))
    np.testing.assert_allclose(both[path]["z"][0], plain[path]["z"], rtol=1e-6)


def test_given_z_mixes_as_it_is(experts):
    mixture = mixing.mix_experts(experts, jnp.asarray([[0.5], [0.5], [0.0]]))
    again = mixing.mix_experts([mixture, experts[2]], jnp.asarray([[1.0], [0.0]]))
    jax.tree.map(np.testing.assert_array_equal, again, mixture)


def test_what_does_not_mix(experts):
    up, down = "layers/mlp/up_proj/kernel", "layers/mlp/down_proj/kernel"
    lora = {path: {"a": jnp.zeros(1), "b": jnp.zeros(1), "scale": jnp.zeros(1)} for path in PATHS}
    other = {**experts[1], up: {"raw": jnp.zeros((2, 4))}}
    uneven = [{**e, "lm_head/kernel": {"raw": jnp.zeros((1, 3))}} for e in experts]
    cases = [
        (lambda: mixing.stack_experts([]), "there is no expert to mix"),
        (lambda: mixing.stack_experts([experts[0], {up: experts[1][up]}]), f"experts 0 and 1 .* only one .* {down}"),
        (lambda: mixing.stack_experts([experts[0], lora]), r"expert 1, .*: mix='z' takes entries 'raw' or 'z'; found"),
        (lambda: mixing.stack_experts([{up: {"z": jnp.ones((2, 5))}}], "raw"), r"mix='raw' takes entries 'raw'; found"),
        (lambda: mixing.stack_experts([experts[0], other]), rf"differ in the shape of {up}: \(2, 5\) and \(2, 4\)"),
        (lambda: mixing.mix_experts(experts, jnp.zeros((3, 2))), r"alpha has shape \(3, 2\); 3 .* take \(3, 1\)"),
        (lambda: mixing.mix_experts(uneven, jnp.zeros((3, 2)), "layer"), r"matrices of \[1, 2\] layers: use per='matr"),
        (lambda: mixing.mix_experts(experts, jnp.zeros((3, 1)), "all"), r"per='all' is not one of 'global'"),
        (lambda: mixing.stack_experts(experts, "p"), r"mix='p' is not one of"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
