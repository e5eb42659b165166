"""What goes from step to step: merged as a checkpoint would be, in its dtype; stacked factors are the exact sum."""

import chex
import jax
import jax.numpy as jnp
import pytest

from seal_jax import adapters, models
from seal_jax.adapters import lora
from seal_jax.seal import fine_tunes, policy
from seal_jax.seal.sequential_weights import MERGED, PERSISTENT, STACK

N, STEPS, TARGETS = 2, 3, ("q_proj", "down_proj")


@pytest.fixture(scope="module")
def half(tiny):
    """The model in bfloat16, with a stack of its own."""
    return tiny._replace(params=jax.tree.map(lambda x: x.astype(jnp.bfloat16), tiny.params))


def fresh(model, step):
    keys = jax.random.split(jax.random.key(step), N)
    return jax.vmap(lambda key: lora.init(key, model.params, 2, 4.0, TARGETS))(keys)


def trained(tree, step):
    """The tree after some training: its own `b`, drawn."""
    draw = lambda path, b: 0.1 * jax.random.normal(jax.random.fold_in(jax.random.key(90 + step), len(path)), b.shape)  # noqa: E731
    return {path: {**entry, "b": draw(path, entry["b"])} for path, entry in tree.items()}


def run(weights, model):
    """The trees that the steps trained, as they were trained."""
    tree, found = weights.start(model.params, fresh(model, 0), STEPS), []
    for step in range(STEPS):
        found.append(trained(tree, step))
        tree = weights.next(model.params, found[-1], lambda step=step: fresh(model, step + 1), step)
    return found


def merged_one_by_one(model, n):
    """Sequence n with a checkpoint after each step."""
    found = []
    for step in range(STEPS):
        adapter = jax.tree.map(lambda x: x[n], trained(fresh(model, step), step))
        model = policy.merge(model, adapter)
        found.append(model.params)
    return found


def attached(model, tree, n):
    return adapters.materialize(adapters.attach(model.params, jax.tree.map(lambda x: x[n], tree)))


@pytest.mark.parametrize("dtype", ["half", "single"])
def test_merged_rounds_as_a_checkpoint_does(half, tiny, dtype):
    model = half if dtype == "half" else tiny
    for n in range(N):
        for tree, wanted in zip(run(MERGED, model), merged_one_by_one(model, n)):
            # Bit for bit in bfloat16; float32 products are summed in another order under jit.
            chex.assert_trees_all_close(attached(model, tree, n), wanted, atol=0 if dtype == "half" else 1e-6)


def test_a_stack_is_the_sum(tiny):
    for n in range(N):
        for tree, wanted in zip(run(STACK, tiny), merged_one_by_one(tiny, n)):
            chex.assert_trees_all_close(attached(tiny, tree, n), wanted, atol=1e-5)
    shapes = {path: e["held_a"].shape for path, e in run(STACK, tiny)[-1].items()}
    assert {shape[-1] for shape in shapes.values()} == {2 * (STEPS - 1)}


def test_a_stack_does_not_round(half):
    """In bfloat16 the factors still hold all steps exactly."""
    [*_, last] = run(STACK, half)
    for path, entry in last.items():
        steps = [trained(fresh(half, step), step)[path] for step in range(STEPS - 1)]
        sum_ = sum(e["a"] @ (e["b"] * e["scale"][..., None, None]) for e in steps)
        chex.assert_trees_all_close(entry["held_a"] @ entry["held_b"], sum_, atol=1e-5)


def test_a_persistent_adapter_is_handed_on(tiny):
    [first, second, _] = run(PERSISTENT, tiny)
    assert all((first[path]["a"] == second[path]["a"]).all() for path in first)


def test_all_weights_go_through_the_dtype(half):
    """Copies of all weights lose at each step what the model's dtype cannot hold, and no more."""
    copies = fine_tunes.fresh(half, [fine_tunes.Draw(0, 0)] * N, fine_tunes.Inner(method="full"))
    tree = MERGED.start(half.params, copies, STEPS)
    chex.assert_trees_all_equal(attached(half, tree, 1), models.stack(half.params))
    moved = {path: {"value": 1.001 * entry["value"]} for path, entry in tree.items()}
    found = MERGED.next(half.params, moved, None, 0)
    rounded = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), moved)
    chex.assert_trees_all_equal(found, rounded)
    assert PERSISTENT.next(half.params, moved, None, 0) is moved
