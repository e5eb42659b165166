"""Every transform of the table in `conformance`, held to one list of properties."""

import functools
from typing import NamedTuple

import conformance
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conformance import RATE, ROWS, STRENGTH
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from seal_jax import continual
from seal_jax.runtime import checkpoint

TASKS, STEPS = 3, 2
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
pulling_rows = pytest.mark.parametrize("row", [r for r in ROWS if r.formula], ids=lambda row: row.name)


class Pair(NamedTuple):
    """A container that is no dict."""

    first: jax.Array
    second: jax.Array


def tree(seed, *lead):
    """Not one of our decoder's: tuples, a NamedTuple, None, a stack of matrices and a lone number."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=(*lead, *shape)), jnp.float32)

    return {"block": ({"kernel": draw(8, 4)}, None), "layers": Pair(draw(2, 3, 4), draw(4)), "scale": draw()}


PARAMS, GRADIENTS = tree(0), tree(1, TASKS * STEPS)
IMPORTANCES = jax.tree.map(lambda x: jnp.where(jnp.abs(x) < 0.1, 0.0, jnp.abs(x)), tree(2, TASKS))  # some are zero
LABELS = {"block": "one", "layers": "two", "scale": "two"}


def at(stacked, index):
    return jax.tree.map(lambda x: x[index], stacked)


def apply(tx, row, strength, params, state, gradients, step):
    updates, state = tx.update(gradients, state, params, **row.extras(params, step))
    return optax.apply_updates(params, updates), state


def stream(tx, row, params=PARAMS, part=lambda x: x, advance=None, repeat=1):
    """A whole stream step by step; `part` of every tree. Returns the parameters and the state at its end."""
    params = part(params)
    state = tx.init(params)
    advance = advance or functools.partial(apply, tx, row, STRENGTH)
    for task in range(TASKS):
        for step in range(task * STEPS, (task + 1) * STEPS):
            for _ in range(repeat):
                params, state = advance(params, state, part(at(GRADIENTS, step)), step)
        state = row.end(state, params, part(at(IMPORTANCES, task)))
    return params, state


class Compiled:
    """A row's step under jit, for any strength; `traces` counts how often it was traced."""

    def __init__(self, row):
        self.row, self.traces = row, 0
        self.step = jax.jit(self.traced)

    def traced(self, strength, params, state, gradients, step):
        self.traces += 1
        return apply(self.row.make(strength), self.row, strength, params, state, gradients, step)

    @functools.cache  # noqa: B019
    def run(self, strength, sign=1.0):
        strength = jnp.float32(strength)
        params = jax.tree.map(lambda x: sign * x, PARAMS)
        return stream(self.row.make(strength), self.row, params, advance=functools.partial(self.step, strength))


compiled = functools.lru_cache(maxsize=None)(Compiled)


def assert_close(found, expected, rtol=1e-5, atol=1e-6):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), found, expected)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pulling_rows
def test_the_pull_is_the_gradient_of_the_penalty(row):
    tx, history = row.alone(STRENGTH), []
    state = tx.init(PARAMS)
    for seed in (3, 4):
        history.append((tree(seed), at(IMPORTANCES, len(history))))
        state = row.end(state, *history[-1])
    start = jax.tree.map(lambda x: 0.1 * x, at(GRADIENTS, 0))
    updates, state = tx.update(start, state, PARAMS)
    value, gradient = jax.value_and_grad(row.formula)(PARAMS, history, STRENGTH)
    assert all(jnp.abs(g).max() > 0.1 for g in jax.tree.leaves(gradient)), "there is a penalty in every leaf"
    np.testing.assert_allclose(continual.penalty(state, PARAMS), value, rtol=1e-5)
    assert_close(jax.grad(continual.penalty, argnums=1)(state, PARAMS), gradient)
    scaled = jax.tree.map(lambda u: row.scale * u, start)
    if row.placement == "coupled":
        expected = jax.tree.map(jnp.add, scaled, gradient)
    else:  # an explicit step has the gradient where it starts, an implicit one where it ends
        at_end = jax.tree.map(jnp.add, PARAMS, updates)
        where = at_end if row.placement == "proximal" else PARAMS
        pull = jax.grad(row.formula)(where, history, STRENGTH)
        expected = jax.tree.map(lambda u, g: u - RATE * g, scaled, pull)
    assert_close(updates, expected, atol=1e-5)


@every_row
def test_one_trace_serves_a_whole_stream_and_any_strength(row):
    params, state = compiled(row).run(STRENGTH)
    assert_close((params, state), stream(row.make(STRENGTH), row))
    compiled(row).run(0.0, -1.0)
    assert compiled(row).traces == 1


@every_row
def test_streams_at_once_under_scan_are_streams_one_by_one(row):
    """With a strength each, from none to one that an explicit step would not survive."""

    @jax.jit
    @jax.vmap
    def run(strength, params):
        tx = row.make(strength)
        state = tx.init(params)

        def step(carry, item):
            return apply(tx, row, strength, *carry, *item), None

        for task in range(TASKS):
            these = slice(task * STEPS, (task + 1) * STEPS)
            items = (at(GRADIENTS, these), jnp.arange(TASKS * STEPS)[these])
            (params, state), _ = jax.lax.scan(step, (params, state), items)
            state = row.end(state, params, at(IMPORTANCES, task))
        return params, state

    signs = (-1.0, 1.0, 1.0)
    begin = jax.tree.map(lambda x: jnp.stack([s * x for s in signs]), PARAMS)
    found = run(jnp.array([0.0, STRENGTH, 1e4]), begin)
    assert_close(at(found, 0), compiled(row).run(0.0, -1.0))
    assert_close(at(found, 1), compiled(row).run(STRENGTH))
    if row.placement == "proximal":
        assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(found))
    if row.placement and row.scale == 1.0:  # no strength, no difference
        plain = conformance.inner()
        assert_close(at(found[0], 0), stream(plain, row._replace(end=conformance.keep), at(begin, 0))[0])


@every_row
def test_parts_of_a_tree_under_partition_and_mask(row):
    """Each part goes its way as if it were alone, and what is masked out stays where it is."""

    def one(x):
        return {"block": x["block"]}

    def two(x):
        return {"layers": x["layers"], "scale": x["scale"]}

    make = functools.partial(row.make, STRENGTH)
    alone = stream(make(), row, part=one)[0] | stream(make(), row, part=two)[0]
    parted = optax.partition({"one": make(), "two": make()}, LABELS, mask_compatible_extra_args=True)
    assert_close(stream(parted, row)[0], alone)
    mask = {name: label == "one" for name, label in LABELS.items()}
    rest = {name: not chosen for name, chosen in mask.items()}
    masked = optax.chain(
        optax.masked(make(), mask, mask_compatible_extra_args=True), optax.masked(optax.set_to_zero(), rest)
    )
    found = stream(masked, row)[0]
    assert_close(one(found), one(alone))
    assert_equal(two(found), two(PARAMS))


@every_row
def test_accumulated_gradients(row):
    """MultiSteps over each gradient twice is one step of it, and task ends reach through it."""
    tx = optax.MultiSteps(row.make(STRENGTH), 2).gradient_transformation()
    step = jax.jit(functools.partial(apply, tx, row, STRENGTH))
    with jax.numpy_dtype_promotion("standard"):  # optax's mean divides a float by an int
        found = stream(tx, row, advance=step, repeat=2)[0]
    assert_close(found, compiled(row).run(STRENGTH)[0])


@every_row
def test_bfloat16_parameters_with_float32_memory(row):
    tx = row.make(STRENGTH)
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (PARAMS, at(GRADIENTS, 0), at(GRADIENTS, 1)))
    high = jax.tree.map(lambda x: x.astype(jnp.float32), low)
    found = []
    for params, first, second in (low, high):
        state = tx.init(params)
        _, state = tx.update(first, state, params, **row.extras(params, 0))
        moved = jax.tree.map(lambda p: p + jnp.ones_like(p), params)
        state = row.end(state, moved, at(IMPORTANCES, 0))
        for path, leaf in jax.tree.leaves_with_path(state):
            if any(getattr(key, "name", "").startswith("cl_") for key in path):
                assert leaf.dtype in (jnp.float32, jnp.int32, jnp.bool_), jax.tree_util.keystr(path)
        updates, _ = tx.update(second, state, params, **row.extras(params, 1))
        assert jax.tree.map(jnp.dtype, updates) == jax.tree.map(jnp.dtype, params)
        found.append(jax.tree.map(lambda x: x.astype(jnp.float32), updates))
    assert_close(*found, rtol=0.05, atol=0.02)


@every_row
def test_state_lies_where_the_parameters_lie(row):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    kernel = NamedSharding(mesh, PartitionSpec("data"))
    everywhere = NamedSharding(mesh, PartitionSpec())
    place = functools.partial(jax.tree.map, lambda x: jax.device_put(x, kernel if x.shape == (8, 4) else everywhere))
    tx = row.make(STRENGTH)
    state = tx.init(place(PARAMS))

    def assert_placed(state):
        leaves = [x for x in jax.tree.leaves(state) if jnp.shape(x) == (8, 4)]
        assert leaves
        assert all(x.sharding.is_equivalent_to(kernel, 2) for x in leaves)

    assert_placed(state)
    step = jax.jit(functools.partial(apply, tx, row, STRENGTH))
    params, state = step(place(PARAMS), state, place(at(GRADIENTS, 0)), 0)
    state = row.end(state, params, place(at(IMPORTANCES, 0)))
    assert_placed(state)
    expected = apply(tx, row, STRENGTH, PARAMS, tx.init(PARAMS), at(GRADIENTS, 0), 0)
    assert_close((params, state), (expected[0], row.end(expected[1], expected[0], at(IMPORTANCES, 0))))


@every_row
def test_state_and_parameters_can_be_donated(row):
    """No two leaves share memory, neither at the beginning nor after the end of a task."""
    params, (gradients, importance) = jax.tree.map(jnp.copy, PARAMS), (at(GRADIENTS, 0), at(IMPORTANCES, 0))
    tx = row.make(STRENGTH)
    state = tx.init(params)
    for _ in range(2):
        leaves = jax.tree.leaves((params, state))
        assert len({x.unsafe_buffer_pointer() for x in leaves}) == len(leaves)
        _, state = tx.update(gradients, state, params, **row.extras(params, 0))
        state = row.end(state, params, importance)


@every_row
def test_state_comes_back_from_a_checkpoint(row, tmp_path):
    params, state = compiled(row).run(STRENGTH)
    checkpoint.save(tmp_path / "state", state)
    back = checkpoint.restore(tmp_path / "state", like=row.make(STRENGTH).init(PARAMS))
    assert_equal(back, state)
    on = [compiled(row).step(jnp.float32(STRENGTH), params, s, at(GRADIENTS, 0), 0) for s in (state, back)]
    assert_equal(*on)


@every_row
def test_a_fresh_start_keeps_what_is_remembered(row):
    params, state = compiled(row).run(STRENGTH)
    tx = row.make(jnp.float32(STRENGTH))
    fresh, reset = tx.init(params), continual.reset_moments(tx, state, params)
    for (path, found), new, old in zip(
        jax.tree.leaves_with_path(reset), jax.tree.leaves(fresh), jax.tree.leaves(state), strict=True
    ):
        fields = {getattr(key, "name", "") for key in path}
        kept = any(f.startswith("cl_") for f in fields) and not fields & {"cl_count", "cl_begun"}
        np.testing.assert_array_equal(found, old if kept else new)
