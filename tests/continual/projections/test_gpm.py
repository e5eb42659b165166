"""GPM: bases against NumPy's SVD, updates that leave outputs alone, and the inputs of a decoder's layers."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import adapters, models, training
from seal_jax.continual import projections
from seal_jax.runtime import placement
from seal_jax.runtime.mesh import make_mesh

CONFIG = models.Config("llama", 23, 16, 24, 2, 2, 1, 8, 64)
ADAM = training.adamw(training.Hyper(learning_rate=0.1, steps=9), training.constant_schedule)


def inputs(seed, rank, n=40, width=12, lead=()):
    """Samples in a subspace, of falling size along its directions."""
    rng = np.random.default_rng(seed)
    size = 0.5 ** np.arange(rank)
    return (rng.normal(size=(*lead, n, rank)) * size @ rng.normal(size=(*lead, rank, width))).astype(np.float32)


def oracle(bases, rows, threshold):
    """The published rule, one kernel: singular vectors of what is left, until enough of the squared norm is held."""
    total = (rows**2).sum()
    inside = ((rows @ bases) ** 2).sum()
    _, values, directions = np.linalg.svd(rows - rows @ bases @ bases.T, full_matrices=False)
    new = 0
    while inside + (values[:new] ** 2).sum() < threshold * total:
        new += 1
    return np.concatenate([bases, directions[:new].T], axis=1)


def basis_of(state, path):
    found = {}
    projections.trees.with_paths(lambda p, basis: found.setdefault(p, np.asarray(basis)), state.cl_basis)
    return found[path]


def test_bases_are_those_of_numpy_over_two_tasks():
    """Of a stack of two kernels with different ranks, and of one kernel; the second task repeats some of the first."""
    params = {"stack": jnp.zeros((2, 12, 5)), "one": (jnp.zeros((12, 3)), None), "bias": jnp.zeros(3)}
    state = projections.gpm(8).init(params)
    first = np.stack([inputs(0, 2), inputs(1, 4)])
    again = np.concatenate([first, inputs(2, 3, lead=(2,))], axis=1)
    known = {"stack": [np.zeros((12, 0))] * 2, "one": [np.zeros((12, 0))]}
    for stack, one in ((first, inputs(3, 3)), (again, inputs(4, 2))):
        state = jax.jit(projections.extend_basis)(state, {"stack": stack, "one/0": one}, 0.95)
        known["stack"] = [oracle(m, x, 0.95) for m, x in zip(known["stack"], stack)]
        known["one"] = [oracle(known["one"][0], one, 0.95)]
    ranks = projections.basis_ranks(state)
    assert ranks["stack"].tolist() == [m.shape[1] for m in known["stack"]]
    assert int(ranks["one/0"]) == known["one"][0].shape[1]
    for found, expected in zip([*basis_of(state, "stack"), basis_of(state, "one/0")], known["stack"] + known["one"]):
        taken = found[:, : expected.shape[1]]
        np.testing.assert_allclose(taken.T @ taken, np.eye(taken.shape[1]), atol=1e-5)
        np.testing.assert_allclose(taken @ taken.T, expected @ expected.T, atol=1e-4)
        assert not found[:, expected.shape[1] :].any()


def test_steps_leave_the_outputs_for_past_inputs_alone_even_behind_adam():
    k1, k2 = jax.random.split(jax.random.key(0))
    params = {"w": jax.random.normal(k1, (12, 5)), "b": jnp.zeros(5)}
    tx = optax.chain(projections.gpm(6), ADAM, projections.gpm(6))
    state, x = tx.init(params), inputs(0, 4)
    state = projections.extend_basis(state, {"w": x}, threshold=1.0)

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.tree.map(lambda p: jnp.cos(7 * p), params), state, params)
        return optax.apply_updates(params, updates), state

    new = params
    for _ in range(5):
        new, state = step(new, state)
    np.testing.assert_allclose(x @ np.asarray(new["w"]), x @ np.asarray(params["w"]), atol=1e-4)
    other = jax.random.normal(k2, (3, 12))
    assert np.abs(other @ new["w"] - other @ params["w"]).min() > 1e-3
    assert np.abs(new["b"]).min() > 0.1


def test_a_fresh_adapter_that_starts_outside_has_no_effect_on_past_inputs():
    """Whatever becomes of `b`: the published way for LoRA, a factor `a` in the complement of what was seen."""
    x = inputs(0, 3)
    adapter = {"p": {"a": jax.random.normal(jax.random.key(0), (12, 2)), "b": jnp.ones((2, 5))}}
    tx = optax.chain(projections.gpm(4), ADAM, projections.gpm(4))
    state = projections.extend_basis(tx.init(adapter), {"p/a": x}, threshold=1.0)
    adapter = projections.orthogonal_start(state, adapter)
    for _ in range(3):
        updates, state = tx.update(jax.tree.map(jnp.cos, adapter), state, adapter)
        adapter = optax.apply_updates(adapter, updates)
    entry = adapter["p"]
    np.testing.assert_allclose(x @ np.asarray(entry["a"] @ entry["b"]), 0, atol=1e-4)
    assert np.linalg.norm(entry["a"] @ entry["b"]) > 1.0


def test_directions_without_room_are_said(caplog):
    state = projections.gpm(2).init({"w": jnp.zeros((12, 5))})
    with caplog.at_level(logging.WARNING):
        state = projections.extend_basis(state, {"w": inputs(0, 4)}, threshold=1.0)
    assert "2 directions found no room in a basis of 2" in caplog.text
    _, _, directions = np.linalg.svd(inputs(0, 4), full_matrices=False)
    found = basis_of(state, "w")
    np.testing.assert_allclose(found @ found.T, directions[:2].T @ directions[:2], atol=1e-4)


def test_inputs_of_nothing_add_nothing():
    state = projections.gpm(3).init({"w": jnp.zeros((12, 5))})
    assert projections.basis_ranks(projections.extend_basis(state, {"w": np.zeros((9, 12))}))["w"] == 0


@pytest.fixture(scope="module")
def params():
    return models.init(jax.random.key(0), CONFIG)


@pytest.mark.parametrize("unrolled", [False, True])
def test_layer_inputs_are_what_the_layers_were_multiplied_with(params, unrolled):
    """The first layer's queries and values see its normalised embedding; what the second sees depends on an adapter."""
    tokens = np.random.default_rng(0).integers(0, 23, (2, 6)).astype(np.int32)
    mask = np.ones((2, 6), bool)
    mask[1, 3:] = False
    adapter = adapters.lora.init(jax.random.key(1), params, rank=2, targets=("q_proj", "v_proj"))
    adapter = jax.tree.map(lambda x: x + 0.3, adapter)
    given = models.unroll(params) if unrolled else params
    batch = {"tokens": tokens, "mask": mask}
    ask = lambda **more: projections.layer_inputs(  # noqa: E731
        given, CONFIG, batch, jax.random.key(2), ("q_proj", "v_proj", "down_proj"), samples=12, **more
    )
    found = ask()
    assert {path.split("/")[-2]: x.shape for path, x in found.items()} == {
        "q_proj": (2, 12, 16),
        "v_proj": (2, 12, 16),
        "down_proj": (2, 12, 24),
    }
    queries = found["layers/self_attn/q_proj/kernel"]
    embedded = np.asarray(params["embed_tokens"]["embedding"])[tokens[mask]]
    normed = embedded / np.sqrt((embedded**2).mean(-1, keepdims=True) + CONFIG.norm_eps)
    order = lambda rows: rows[np.lexsort(rows.T)]  # noqa: E731
    np.testing.assert_allclose(order(np.asarray(queries[0, :9])), order(normed), atol=1e-5)
    assert not queries[:, 9:].any(), "nine tokens are no pads, the other places are zeros"
    np.testing.assert_array_equal(queries, found["layers/self_attn/v_proj/kernel"])
    adapted = ask(adapter=adapter)["layers/self_attn/q_proj/kernel"]
    np.testing.assert_array_equal(adapted[0], queries[0])
    assert np.abs(adapted[1, :9] - queries[1, :9]).max() > 1e-2


def test_layer_inputs_on_a_mesh_are_those_of_one_device(params):
    """Kernels split by rows and by columns; the adapter's factors as well."""
    mesh = make_mesh("data=2,fsdp=2,model=2")
    tokens = np.random.default_rng(0).integers(0, 23, (4, 6)).astype(np.int32)
    adapter = adapters.lora.init(jax.random.key(1), params, rank=2, targets=("q_proj", "down_proj"))
    batch = {"tokens": tokens, "mask": np.ones((4, 6), bool)}
    place = lambda tree: placement.shard_params(tree, mesh, CONFIG)  # noqa: E731
    one, split = (
        projections.layer_inputs(p, CONFIG, batch, jax.random.key(2), ("attention", "down_proj"), 8, adapter=a)
        for p, a in ((params, adapter), (place(params), place(adapter)))
    )
    assert one.keys() == split.keys()
    for path, expected in one.items():
        np.testing.assert_allclose(split[path], expected, atol=1e-4, err_msg=path)


def test_bad_input():
    state = projections.gpm(3).init({"w": jnp.zeros((12, 5)), "b": jnp.zeros(5)})
    for inputs_, threshold, message in (
        ({"b": np.zeros((4, 5))}, 0.9, "no basis for 'b'; it has 'w'"),
        ({"w": np.zeros((4, 5))}, 0.9, r"inputs of shape \(4, 5\); this kernel needs \('?n'?, 12\)|needs \('n', 12\)"),
        ({"w": np.zeros((4, 12))}, 0.0, r"not in \(0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            projections.extend_basis(state, inputs_, threshold)
    with pytest.raises(ValueError, match="holds no GpmState"):
        projections.extend_basis(optax.adam(1e-3).init({"w": jnp.zeros(2)}), {})
    with pytest.raises(ValueError, match="columns of 1 or more"):
        projections.gpm(0)
