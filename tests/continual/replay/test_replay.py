"""Replay memories against plain Python, their statistics, and batches mixed with what they hold."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seal_jax.continual import replay

POLICIES = [replay.Reservoir(6), replay.Ring(6, 3), replay.Balanced(6)]
IDS = [type(p).__name__ for p in POLICIES]
ITEM = jax.ShapeDtypeStruct((), jnp.int32)


def held(memory):
    """(task, item) of the filled slots, in order."""
    return sorted((int(t), int(i)) for t, i in zip(memory.task, memory.items, strict=True) if t >= 0)


def offer(policy, memory, parts, task):
    for part in parts:
        memory = policy.add(memory, jnp.asarray(part, jnp.int32), task)
    return memory


@pytest.mark.parametrize("policy", POLICIES, ids=IDS)
def test_how_items_are_divided_into_calls_changes_nothing(policy):
    one = offer(policy, policy.init(ITEM, seed=3), [range(20)], 0)
    one = offer(policy, one, [range(20, 40)], 1)
    many = offer(policy, policy.init(ITEM, seed=3), [range(1), range(1, 13), range(13, 20)], 0)
    many = offer(policy, many, [range(20, 31), range(31, 40)], 1)
    assert held(one) == held(many)
    assert int(replay.filled(one)) == (4 if isinstance(policy, replay.Ring) else 6)  # the third task has not come
    assert int(one.seen.sum()) == 40


@pytest.mark.parametrize("policy", POLICIES, ids=IDS)
def test_items_that_do_not_count_were_not_offered(policy):
    plain = offer(policy, policy.init(ITEM, seed=1), [range(0, 30, 2)], 0)
    valid = jnp.arange(30) % 2 == 0
    masked = policy.add(policy.init(ITEM, seed=1), jnp.arange(30, dtype=jnp.int32), 0, valid)
    assert held(plain) == held(masked)
    assert held(policy.add(plain, jnp.arange(2, dtype=jnp.int32), 0, jnp.zeros(2, bool))) == held(plain)


@pytest.mark.parametrize("policy", POLICIES, ids=IDS)
def test_a_smaller_capacity_is_a_smaller_memory(policy):
    wide = offer(policy, policy.init(ITEM, seed=2, capacity=3), [range(9), range(9, 14)], 0)
    narrow = policy._replace(size=3)
    assert held(wide) == held(offer(narrow, narrow.init(ITEM, seed=2), [range(14)], 0))


def test_reservoir_keeps_each_item_with_equal_probability():
    policy, runs, offered = replay.Reservoir(5), 4000, 20
    fill = jax.jit(jax.vmap(lambda s: policy.add(policy.init(ITEM, s), jnp.arange(offered, dtype=jnp.int32)).items))
    times = np.bincount(np.asarray(fill(jnp.arange(runs))).ravel(), minlength=offered)
    expected = runs * 5 / offered
    chi_square = ((times - expected) ** 2 / (expected * (1 - 5 / offered))).sum() * (offered - 1) / offered
    assert chi_square < 43.8  # 0.999 quantile of 19 degrees of freedom


def test_reservoir_is_the_published_loop():
    """Item i goes to slot i while there is room, then to slot j ~ U{0..i} if there is one."""
    policy = replay.Reservoir(4)
    slots = {}
    for i in range(30):
        j = i if i < 4 else int(jax.random.randint(jax.random.fold_in(jax.random.key(9), i), (), 0, i + 1))
        if j < 4:
            slots[j] = i
    found = offer(policy, policy.init(ITEM, seed=9), [range(30)], 0)
    assert np.asarray(found.items).tolist() == [slots[k] for k in range(4)]


def test_ring_keeps_the_latest_of_each_task():
    policy = replay.Ring(7, 3)  # two slots a task
    tasks = jnp.array([0, 1, 0, 0, 2, 1, 5, 1])
    found = policy.add(policy.init(ITEM), jnp.arange(8, dtype=jnp.int32), tasks)
    assert held(found) == [(0, 2), (0, 3), (1, 5), (1, 7), (2, 4)]


def test_balanced_shares_shrink_and_small_tasks_leave_room():
    policy = replay.Balanced(12)
    memory, shares = policy.init(ITEM), []
    for task, count in enumerate((50, 50, 2, 50)):
        memory = offer(policy, memory, [range(count)], task)
        shares.append([Counter(np.asarray(memory.task).tolist())[t] for t in range(task + 1)])
    assert shares[:2] == [[12], [6, 6]]
    assert shares[2] == [5, 5, 2]
    assert sorted(shares[3]) == [2, 3, 3, 4]
    assert shares[3][2] == 2


def test_samples_come_once_before_any_comes_twice():
    policy = replay.Reservoir(6)
    memory = policy.add(policy.init(ITEM), jnp.arange(4, dtype=jnp.int32) + 10, jnp.array([0, 0, 1, 1]))
    drawn = replay.sample(memory, jax.random.key(0), 8)
    assert drawn.valid.all()
    assert sorted(drawn.items[:4].tolist()) == [10, 11, 12, 13]
    assert Counter(drawn.items.tolist()) == dict.fromkeys(range(10, 14), 2)
    of_one = replay.sample(memory, jax.random.key(0), 3, task=1)
    assert set(of_one.items.tolist()) == {12, 13}
    assert not replay.sample(memory, jax.random.key(0), 3, task=4).valid.any()
    assert not replay.sample(policy.init(ITEM), jax.random.key(0), 3).valid.any()


def test_samples_are_uniform():
    policy = replay.Reservoir(8)
    memory = policy.add(policy.init(ITEM), jnp.arange(5, dtype=jnp.int32))
    draw = jax.jit(jax.vmap(lambda key: replay.sample(memory, key, 2).items))
    times = np.bincount(np.asarray(draw(jax.random.split(jax.random.key(1), 5000))).ravel(), minlength=5)
    assert abs(times - 2000).max() < 4 * np.sqrt(2000 * 0.6)


@pytest.mark.parametrize("policy", POLICIES, ids=IDS)
def test_one_program_for_a_stream_of_several_memories(policy):
    """Under vmap, scan and jit, with a traced task, capacity and trees of several dtypes."""
    traces = 0

    @jax.jit
    def stream(seeds, capacities):
        nonlocal traces
        traces += 1

        def one(seed, capacity):
            example = {"x": jax.ShapeDtypeStruct((2,), jnp.bfloat16), "y": ITEM}

            def step(memory, task):
                y = task * 10 + jnp.arange(5, dtype=jnp.int32)
                rows = {"x": jnp.broadcast_to(y[:, None], (5, 2)).astype(jnp.float32), "y": y}
                memory = policy.add(memory, rows, task)
                return memory, replay.sample(memory, jax.random.key(0), 3).task

            return jax.lax.scan(step, policy.init(example, seed, capacity), jnp.arange(3, dtype=jnp.int32))

        return jax.vmap(one)(seeds, capacities)

    memories, tasks = stream(jnp.arange(4), jnp.array([6, 6, 3, 3]))
    stream(jnp.arange(4) + 7, jnp.array([6, 5, 4, 3]))
    assert traces == 1
    assert memories.items["x"].dtype == jnp.bfloat16
    assert (memories.task >= 0).sum(1).tolist() == [6, 6, 3, 3]
    there = np.asarray(memories.task) >= 0
    np.testing.assert_array_equal(np.asarray(memories.items["y"])[there] // 10, np.asarray(memories.task)[there])
    np.testing.assert_array_equal(
        np.asarray(memories.items["x"][..., 0])[there], np.asarray(memories.items["y"])[there]
    )
    assert (tasks[:, 0] == 0).all()


@pytest.mark.parametrize("policy", POLICIES, ids=IDS)
def test_host_examples_are_kept_as_arrays_are(policy):
    memory, host = policy.init(ITEM, seed=5), replay.Examples.start(policy, seed=5)
    for task in range(3):
        items = range(100 * task, 100 * task + 9)
        memory = offer(policy, memory, [items[:4], items[4:]], task)
        host = host.add([f"item {i}" for i in items[:4]], task).add([f"item {i}" for i in items[4:]], task)
    kept = [k for k in host.kept if k is not None]
    assert sorted(kept) == sorted(f"item {i}" for _, i in held(memory))
    key = jax.random.key(2)
    assert host.draw(4, key) == [f"item {i}" for i in replay.sample(memory, key, 4).items.tolist()]
    assert all(text.startswith("item 1") for text in host.draw(2, key, task=1))
    assert replay.Examples.start(policy).draw(3, key) == []
    assert host.add([], 2) is host


def test_batches_with_replayed_rows():
    batch = {"x": jnp.zeros((3, 2)), "y": jnp.zeros(3, jnp.int32)}
    items = {"x": jnp.ones((3, 2)), "y": jnp.full(3, 7, jnp.int32)}
    drawn = replay.Drawn(items, jnp.zeros(3, jnp.int32), jnp.ones(3, bool))
    nothing = drawn._replace(valid=jnp.zeros(3, bool))
    joined, counts = replay.append(batch, drawn)
    assert joined["y"].tolist() == [0, 0, 0, 7, 7, 7]
    assert counts.tolist() == [1] * 6
    assert replay.append(batch, nothing)[1].tolist() == [1, 1, 1, 0, 0, 0]
    mixed = replay.mix(batch, drawn, jnp.array([False, True, False]))
    assert mixed["y"].tolist() == [0, 7, 0]
    assert mixed["x"].tolist() == [[0, 0], [1, 1], [0, 0]]
    assert replay.mix(batch, nothing, jnp.ones(3, bool))["y"].tolist() == [0, 0, 0]


def test_counts_of_replayed_rows_are_right_in_the_mean():
    keys = jax.random.split(jax.random.key(0), 20000)
    counts = jax.jit(jax.vmap(lambda key: replay.replay_count(key, 0.01, 64)))(keys)
    assert set(counts.tolist()) == {0, 1}
    assert abs(float(counts.mean()) - 0.64) < 4 * 0.48 / np.sqrt(20000)


@pytest.mark.parametrize(
    ("count", "rows", "rate"), [(100, 8, 0.1), (64, 16, 0.0), (7, 8, 0.5), (200, 4, 0.01), (0, 4, 0)]
)
def test_an_epoch_of_mixed_steps_is_one_pass_over_the_new_items(count, rows, rate):
    steps = replay.mixed_steps(count, rows, rate, seed=1)
    assert sorted(steps[steps >= 0].tolist()) == list(range(count))
    assert abs((steps == -1).sum() - len(steps) * rows * rate) <= 1
    assert (steps[:-1] != -2).all()
    if count > 20:
        other = replay.mixed_steps(count, rows, rate, seed=1, epoch=1)
        assert other[other >= 0].tolist() != steps[steps >= 0].tolist()


def test_other_schedules():
    assert np.flatnonzero(replay.replay_steps(10, 0.25)).tolist() == [3, 7]
    assert not replay.replay_steps(10, 0).any()
    assert [replay.mix_review_count(100, epoch) for epoch in range(3)] == [400, 280, 196]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replay.Reservoir(0).init(ITEM), "a memory of 0 slots: it takes 1 or more"),
        (lambda: replay.Ring(2, 3).init(ITEM), "a ring of 2 slots for 3 tasks"),
        (lambda: replay.mixed_steps(5, 2, 1.0), r"rate=1.0: the share of rows that are replayed is in \[0, 1\)"),
        (lambda: replay.mixed_steps(5, 0, 0.1), "5 items in batches of 0"),
        (lambda: replay.mix_review_count(5, 0, decay=2), "decay=2"),
        (
            lambda: replay.Reservoir(2).add(replay.Reservoir(2).init(ITEM), (jnp.zeros(3), jnp.zeros(2))),
            r"need one leading axis, and have the shapes \[\(3,\), \(2,\)\]",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
