"""`continual.run`: against a plain loop, by lanes, resumed, refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import continual, training
from seal_jax.continual import demo, learning, methods, replay, task_stream
from seal_jax.continual.method import Method, Problem
from seal_jax.continual.run import run
from seal_jax.continual.task_stream import Settings, Task
from seal_jax.data.worlds import permuted
from seal_jax.runtime.checkpoint import Checkpointer

SHAPE = permuted.Shape(tasks=3, features=6, classes=3, clusters=1, train=20, test=9)
SETTINGS = Settings(batch_size=8, epochs=2, seed=5)


def rate_method(rate):
    """Adam in arithmetic without implicit promotion."""
    return Method(training.adamw(training.Hyper(rate, 1, clip=0.0), training.constant_schedule))


NAIVE = rate_method(1e-2)


def score(params, task):
    """Accuracy without lanes."""
    return float(demo.accuracy(*jax.tree.map(lambda x: x[None], (params, task.test)))[0])


@pytest.fixture(scope="module")
def stream():
    """Three tasks of 20, 20 and 13 rows, the last with three passes."""
    tasks = [
        Task(t.name, {k: x[0] for k, x in t.train.items()}, {k: x[0] for k, x in t.test.items()})
        for t in demo.tasks([0], SHAPE)
    ]
    return [*tasks[:2], tasks[2]._replace(train={k: x[:13] for k, x in tasks[2].train.items()}, epochs=3)]


@pytest.fixture(scope="module")
def start():
    return demo.init(0, SHAPE, hidden=(5,))


@pytest.fixture(scope="module")
def whole(stream, start):
    return run(demo.PROBLEM, NAIVE, start, stream, score, SETTINGS)


def test_a_plain_loop_gives_the_same(stream, start, whole):
    parts = task_stream.parts(stream, SETTINGS, None, [SETTINGS.seed])
    params, optimizer = start, NAIVE.tx.init(start)
    matrix = []
    grad = jax.jit(jax.value_and_grad(lambda p, b: demo.loss((), p, b, jax.random.key(0))))
    for task, part in zip(stream, parts):
        for step in range(part.steps):
            batch = {name: x[part.order[step]] for name, x in task.train.items()}
            value, grads = grad(params, batch)
            updates, optimizer = NAIVE.tx.update(grads, optimizer, params)
            params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(whole.losses[len(matrix), part.steps - 1], value, rtol=1e-5)
        matrix.append([score(params, t) for t in stream])
    np.testing.assert_array_equal(whole.matrix, matrix)
    np.testing.assert_array_equal(whole.baseline, [score(start, t) for t in stream])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole.state.params, params)


def test_a_pass_takes_every_row_once_and_steps_beyond_a_task_are_not_taken(stream, whole):
    parts = task_stream.parts(stream, SETTINGS, None, [SETTINGS.seed])
    assert [p.steps for p in parts] == [5, 5, 5]
    assert [p.count for p in parts] == [20, 20, 13]
    for part in parts:
        taken = part.order[: part.steps].reshape(-1)
        assert sorted(taken[: part.count]) == list(range(part.count))
        assert sorted(taken[part.count : 2 * part.count]) == list(range(part.count))
    assert {p.rows["x"].shape for p in parts} == {(20, 6)}
    assert np.isfinite(whole.losses).all()


def test_one_program_for_the_whole_stream(stream, start):
    before = learning.trained._cache_size()
    method = rate_method(2e-2)
    run(demo.PROBLEM, method, start, stream, score, SETTINGS)
    run(demo.PROBLEM, method, start, stream[::-1], score, dataclasses.replace(SETTINGS, seed=1))
    assert learning.trained._cache_size() == before + 1


def test_lanes_are_runs_side_by_side(stream, start):
    seeds, rates = [5, 6], np.array([1e-2, 3e-3], np.float32)
    lanes = [t._replace(train={k: np.stack([x, x]) for k, x in t.train.items()}) for t in stream]
    both = jax.tree.map(lambda x: jnp.stack([x, x]), start)
    test = lambda params, task: demo.accuracy(params, {k: np.stack([x, x]) for k, x in task.test.items()})  # noqa: E731
    side = run(demo.PROBLEM, rate_method, both, lanes, test, SETTINGS, hyper=jnp.asarray(rates), seeds=seeds)
    for lane, (seed, rate) in enumerate(zip(seeds, rates)):
        settings = dataclasses.replace(SETTINGS, seed=seed)
        alone = run(demo.PROBLEM, rate_method, start, stream, score, settings, hyper=jnp.asarray(rate))
        np.testing.assert_allclose(side.losses[lane], alone.losses, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(side.matrix[lane], alone.matrix, atol=1e-6)
    assert not np.allclose(side.losses[0], side.losses[1])


class Killed(BaseException):
    """Stands for a signal."""


@pytest.mark.parametrize("at", [3, 5, 12])
def test_killed_and_resumed_gives_the_same_bits(stream, start, whole, tmp_path, at):
    settings = dataclasses.replace(SETTINGS, every=2)
    done = 0

    def count(steps):
        nonlocal done
        done += steps
        if done >= at:
            raise Killed

    keep = Checkpointer(tmp_path)
    with pytest.raises(Killed):
        run(demo.PROBLEM, NAIVE, start, stream, score, settings, checkpoints=keep, on_progress=count)
    seen = []
    again = run(demo.PROBLEM, NAIVE, start, stream, score, settings, checkpoints=keep, on_progress=seen.append)
    assert sum(seen) == 15
    assert max(seen[1:]) <= 2
    np.testing.assert_array_equal(again.losses, whole.losses)
    np.testing.assert_array_equal(again.matrix, whole.matrix)
    jax.tree.map(np.testing.assert_array_equal, again.state, whole.state)
    finished = run(demo.PROBLEM, NAIVE, start, stream, score, settings, checkpoints=keep)
    np.testing.assert_array_equal(finished.matrix, whole.matrix)


def test_a_checkpoint_of_another_stream_is_refused(stream, start, tmp_path):
    keep = Checkpointer(tmp_path)
    go = lambda tasks, settings=SETTINGS, label="a": run(  # noqa: E731
        demo.PROBLEM, NAIVE, start, tasks, score, settings, checkpoints=keep, label=label
    )
    go(stream)
    with pytest.raises(ValueError, match=r"another stream .*task 1: 'permutation 0' of 20 rows.*'permutation 1'"):
        go([stream[1], stream[0], stream[2]])
    changed = {**stream[0].train, "x": stream[0].train["x"] + 1}
    with pytest.raises(ValueError, match=r"another stream .*task 1: 'permutation 0' of 20 rows, hash"):
        go([stream[0]._replace(train=changed), *stream[1:]])
    with pytest.raises(ValueError, match=r"another stream .*label: 'a' there, 'b' now"):
        go(stream, label="b")
    with pytest.raises(ValueError, match=r"another stream .*epochs: 2 there, 1 now"):
        go(stream, dataclasses.replace(SETTINGS, epochs=1))


def pulled(lam, rows=4):
    """Latest-anchor EWC and replay."""
    method = Method(optax.chain(NAIVE.tx, continual.online_ewc(lam, 1e-2)))
    method = methods.consolidating(method, methods.logits_fisher_importance())
    return methods.rehearsing(method, replay.Reservoir(8), rows)


def test_a_checkpoint_of_another_method_or_start_is_refused(stream, start, tmp_path):
    keep = Checkpointer(tmp_path)
    settings = dataclasses.replace(SETTINGS, evaluate="seen")
    go = lambda method, params=start: run(demo.PROBLEM, method, params, stream, score, settings, checkpoints=keep)  # noqa: E731
    found = go(pulled(1.0))
    np.testing.assert_array_equal(go(pulled(1.0)).matrix, found.matrix)
    with pytest.raises(ValueError, match=r"another stream .*cl_strength: 1.0 there, 10000.0 now"):
        go(pulled(1e4))
    with pytest.raises(ValueError, match=r"another stream .*rows: 4 there, 8 now"):
        go(pulled(1.0, rows=8))
    with pytest.raises(ValueError, match=r"another stream .*optimizer"):
        go(NAIVE)
    with pytest.raises(ValueError, match=r"another stream .*start"):
        go(pulled(1.0), jax.tree.map(lambda x: x * 0, start))
    with pytest.raises(ValueError, match=r"another stream .*hyper.learning_rate: 0.01 there, 0.02 now"):
        go(pulled(1.0)._replace(tx=optax.chain(rate_method(2e-2).tx, continual.online_ewc(1.0, 1e-2))))


def test_checkpoints_of_a_diverged_run_are_numbered_by_steps_taken(stream, start, tmp_path):
    saved = []

    class Recorded(Checkpointer):
        def save(self, step, tree):
            saved.append((step, int(tree.task), int(tree.step)))
            super().save(step, tree)

    nan = Problem(lambda *given: demo.loss(*given) * jnp.nan)
    settings = dataclasses.replace(SETTINGS, every=2, evaluate="seen")
    run(nan, NAIVE, start, stream, score, settings, checkpoints=Recorded(tmp_path))
    assert [step for step, *_ in saved] == [2, 4, 5, 7, 9, 10, 12, 14, 15]
    assert [step for step, *_ in saved] == [5 * task + step for _, task, step in saved]


@pytest.mark.parametrize(("evaluate", "known"), [("seen", np.tri(3)), ("next", np.tri(3, k=1))])
def test_what_is_not_asked_is_nan(stream, start, evaluate, known):
    found = run(demo.PROBLEM, NAIVE, start, stream, score, dataclasses.replace(SETTINGS, evaluate=evaluate))
    np.testing.assert_array_equal(np.isfinite(found.matrix), known.astype(bool))
    # Forward transfer reads every task's score before any learning and just before its own.
    assert np.isfinite(found.baseline).tolist() == [evaluate == "next"] * 3


def test_rows_of_a_step_in_parts_are_the_same_step(stream, start, whole):
    found = run(demo.PROBLEM, NAIVE, start, stream, score, dataclasses.replace(SETTINGS, accumulate=2))
    np.testing.assert_allclose(found.losses, whole.losses, rtol=1e-5)


BAD = {
    "no tasks": (lambda s: [], {}, "there are no tasks"),
    "one name twice": (lambda s: [s[0], s[0]], {}, "names of their own"),
    "other rows": (
        lambda s: [s[0], s[1]._replace(train={**s[1].train, "x": s[1].train["x"][:, :4]})],
        {},
        "'permutation 1' has rows .* pad them to one shape",
    ),
    "uneven": (
        lambda s: [s[0]._replace(train={**s[0].train, "x": s[0].train["x"][:4]})],
        {},
        "equal leading axes",
    ),
    "empty": (lambda s: [s[0]._replace(train={k: x[:0] for k, x in s[0].train.items()})], {}, "no training rows"),
    "no passes": (lambda s: [s[0]._replace(epochs=0)], {}, "'permutation 0' has epochs=0: use 1 or more"),
    "passes below 0": (lambda s: [s[0]._replace(epochs=-1)], {}, "'permutation 0' has epochs=-1: use 1 or more"),
    "no lanes": (lambda s: s, {"seeds": [0, 1]}, "every leaf of params needs the leading axis N=2"),
}


@pytest.mark.parametrize("case", BAD)
def test_streams_that_cannot_be_run(stream, start, case):
    change, arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        run(demo.PROBLEM, NAIVE, start, change(stream), score, SETTINGS, **arguments)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"epochs": 0}, {"every": 0}, {"evaluate": "some"}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong)))):
        Settings(**wrong)


def test_a_score_must_be_one_number(stream, start):
    with pytest.raises(ValueError, match=r"evaluate gave .* 'permutation 0'; a score is one number"):
        run(demo.PROBLEM, NAIVE, start, stream, lambda params, task: [0.0, 1.0], SETTINGS)
