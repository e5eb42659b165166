"""`continual.methods`: what each adds to plain training, on a stream small enough to look into."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import continual, training
from seal_jax.continual import demo, methods, projections, replay
from seal_jax.continual.method import Method, Problem
from seal_jax.continual.run import run
from seal_jax.continual.task_stream import Settings
from seal_jax.data.worlds import permuted

SHAPE = permuted.Shape(tasks=3, features=6, classes=3, clusters=1, train=24, test=12)
SETTINGS = Settings(batch_size=8, epochs=2)
SEEDS = (3, 4)
RATE = 1e-2
BASE = demo.init(9, SHAPE, hidden=(5,))


ADAM = training.adamw(training.Hyper(RATE, 1, clip=0.0), training.constant_schedule)


def adam(*after):
    return optax.chain(ADAM, *after)


MAKE = {
    "naive": lambda s: Method(adam()),
    "reset": lambda s: Method(adam(), reset=True),
    "ewc": lambda s: methods.consolidating(Method(adam(continual.ewc(s, RATE))), methods.logits_fisher_importance()),
    "mas": lambda s: methods.consolidating(Method(adam(continual.mas(s, RATE))), methods.output_importance()),
    "si": lambda s: methods.consolidating(Method(continual.si(ADAM, s, RATE))),
    "l2_sp": lambda s: methods.consolidating(Method(adam(continual.l2_sp(s, RATE)))),
    "agem": lambda s: methods.remembering(Method(optax.chain(continual.agem(), adam())), replay.Reservoir(8), 4),
    "gem": lambda s: methods.remembering(Method(optax.chain(continual.gem(3), adam())), replay.Ring(9, 3), 3, 3),
    "gpm": lambda s: methods.spanning(
        Method(optax.chain(continual.gpm(7), adam(), continual.gpm(7))),
        lambda state, scene: demo.forward(state.params, scene.rows["x"])[1],
        0.999,
    ),
    "lwf": lambda s: methods.distilling(Method(adam()), s),
    "dark": lambda s: methods.dark(Method(adam()), replay.Reservoir(16), 4, (3,), s, 0.5),
    "replay": lambda s: methods.rehearsing(Method(adam()), replay.Reservoir(8), 4),
    "replay+ewc": lambda s: methods.rehearsing(MAKE["ewc"](s), replay.Reservoir(8), 4),
    "olora": lambda s: methods.stacking(
        Method(optax.chain(continual.olora(s, 4), ADAM)), lambda key: demo.adapter(key, BASE, 2), last=2
    ),
}


@pytest.fixture(scope="module")
def found():
    """`found(name)`: the result of a method at strength 2, computed once."""
    tasks = demo.tasks(SEEDS, SHAPE)
    lanes = lambda make: jax.tree.map(lambda *x: jnp.stack(x), *map(make, SEEDS))  # noqa: E731
    start = lanes(lambda seed: demo.init(seed, SHAPE, hidden=(5,)))
    stacked = lanes(lambda seed: projections.room(demo.adapter(jax.random.key(seed), BASE, 2), 4))

    @functools.cache
    def compute(name):
        of = (demo.PROBLEM, MAKE[name], start, tasks, demo.evaluate)
        if name == "olora":
            of = (Problem(demo.adapted_loss, BASE), MAKE[name], stacked, tasks, demo.evaluate_adapter(BASE))
        return run(*of, SETTINGS, hyper=jnp.full(2, 2.0), seeds=SEEDS)

    return compute


@pytest.mark.parametrize("name", [name for name in MAKE if name != "naive"])
def test_the_first_task_is_plain_training_and_the_others_are_not(found, name):
    """None of them has anything to protect in the first task; L2-SP has the start, O-LoRA another parameterisation."""
    plain, other = found("naive").losses, found(name).losses
    assert np.isfinite(other).all()
    if name not in ("l2_sp", "olora"):
        np.testing.assert_allclose(other[:, 0], plain[:, 0], rtol=1e-4)
    if name != "agem":  # which may find nothing against it
        assert np.abs(other[:, 1:] - plain[:, 1:]).max() > 1e-3
    assert found(name).matrix.shape == (2, 3, 3)


@pytest.mark.parametrize(("steps", "share"), [(6, 0.25), (400, 0.5)])
def test_rec_adam_is_annealed_over_the_steps_of_its_task(steps, share):
    tx = methods.annealed(0.0, 1.0, share)
    one, t0 = jnp.ones(()), share * steps
    found, state = [], tx.init(one)
    for _ in range(steps):
        update, state = tx.update(one, state, one, task_steps=steps)
        found.append(np.asarray(update))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-10 / t0 * (np.arange(1, steps + 1) - t0))), rtol=1e-4)
    assert found[-1] > 0.9999
    with pytest.raises(ValueError, match=r"share=0\.6"):
        methods.annealed(1.0, 1.0, 0.6)
    with pytest.raises(ValueError, match=r"use methods\.annealing"):
        tx.update(one, state, one)


@pytest.mark.parametrize("name", ["ewc", "mas", "si", "l2_sp", "replay+ewc"])
def test_the_penalty_is_there(found, name):
    state = found(name).state
    trained = jax.tree.map(lambda x: x + 0.1, state.params)
    value = jax.vmap(continual.penalty)(state.optimizer, trained)
    assert (value > 1e-3).all()


def test_replayed_rows_are_of_the_stream(found):
    memory = found("replay").state.memory["replay"]
    assert (np.asarray(memory.task) >= 0).all()
    assert (np.asarray(memory.seen) == 72).all()
    tasks = demo.tasks(SEEDS, SHAPE)
    for lane in range(2):
        for x, label, task in zip(memory.items["x"][lane], memory.items["labels"][lane], memory.task[lane]):
            rows = np.flatnonzero((tasks[int(task)].train["x"][lane] == np.asarray(x)).all(-1))
            assert tasks[int(task)].train["labels"][lane][rows].tolist() == [int(label)]


def test_the_teacher_is_the_model_of_the_task_before(found):
    memory = found("lwf").state.memory["teacher"]
    assert (np.asarray(memory["taught"]) == 1).all()
    assert not np.allclose(memory["params"]["layer_0"]["kernel"], found("lwf").state.params["layer_0"]["kernel"])


def test_stored_logits_are_those_of_the_end_of_a_row_s_task(found):
    """Of the last task the final model's."""
    result = found("dark")
    memory = result.state.memory["dark"]
    for lane in range(2):
        last = np.asarray(memory.task[lane]) == 2
        now = demo.logits((), jax.tree.map(lambda x: x[lane], result.state.params), {"x": memory.items["x"][lane]})  # noqa: B023
        np.testing.assert_allclose(np.asarray(memory.items["stored_logits"][lane])[last], now[last], atol=1e-5)
    assert (np.asarray(memory.task) == 2).any()


def test_what_gpm_protects_stays(found):
    """Bases hold all of the first layer's inputs after a task, so its kernel stays from the second one on."""
    moved = np.asarray(found("gpm").losses)
    assert np.isfinite(moved).all()
    ranks = projections.basis_ranks(found("gpm").state.optimizer)
    assert (np.asarray(ranks["layer_0/kernel"]) > 0).all()


def test_adapters_of_earlier_tasks_are_held(found):
    entry = found("olora").state.params["layer_0/kernel"]
    assert entry["held_a"].shape == (2, 7, 4)
    assert (np.abs(np.asarray(entry["held_a"])).sum(axis=1) > 0).all()
    assert (np.abs(np.asarray(entry["b"])).sum(axis=(1, 2)) > 0).all()  # of the last task, which is not held


@pytest.mark.parametrize(
    ("columns", "of_olora", "last", "message"),
    [
        (2, 6, None, r"layer_0/kernel: 2 of 2 columns are taken after 1 of 3 tasks; 2 more do not fit.* needs 6"),
        (5, 6, None, r"4 of 5 columns are taken after 2 of 3 tasks; 2 more do not fit.* needs 6"),
        (3, 4, 2, r"2 of 3 columns are taken after 1 of 3 tasks; 2 more do not fit.* needs 4"),
        (4, 3, 2, r"layer_0/kernel/a: no room for 1 more; make the transform with more columns than 3.* needs 4"),
    ],
)
@pytest.mark.parametrize("compiled", [True, False])
def test_too_little_room_for_a_stack_is_refused_before_training(columns, of_olora, last, message, compiled):
    tasks = [t._replace(train={k: x[0] for k, x in t.train.items()}) for t in demo.tasks([0], SHAPE)]
    fresh = lambda key: demo.adapter(key, BASE, 2)  # noqa: E731
    method = Method(optax.chain(continual.olora(1.0, of_olora), ADAM), compiled=compiled)
    method = methods.rehearsing(methods.stacking(method, fresh, last=last), replay.Reservoir(8), 4)
    start = projections.room(fresh(jax.random.key(0)), columns)
    asked = []
    with pytest.raises(ValueError, match=message):
        run(Problem(demo.adapted_loss, BASE), method, start, tasks, lambda p, t: asked.append(t) or 0.0, SETTINGS)
    assert not asked


def test_a_method_that_looks_at_values_is_not_mapped(found):
    tasks, settings = demo.tasks(SEEDS, SHAPE), Settings(batch_size=8)
    start = jax.tree.map(lambda *x: jnp.stack(x), *[demo.init(s, SHAPE) for s in SEEDS])
    with pytest.raises(ValueError, match="compiled=False"):
        run(demo.PROBLEM, Method(adam(), compiled=False), start, tasks, demo.evaluate, settings, seeds=SEEDS)


def test_an_importance_of_zeros_is_refused():
    tasks = [t._replace(train={k: x[0] for k, x in t.train.items()}) for t in demo.tasks([0], SHAPE)]
    zeros = lambda state, scene: jax.tree.map(jnp.zeros_like, state.params)  # noqa: E731
    method = methods.consolidating(Method(adam(continual.ewc(1.0, RATE)), compiled=False), zeros)
    with pytest.raises(ValueError, match="zero everywhere"):
        run(demo.PROBLEM, method, demo.init(0, SHAPE, (5,)), tasks, lambda params, task: 0.0, SETTINGS)


def test_logits_are_asked_for_where_they_are_missing():
    tasks = [t._replace(train={k: x[0] for k, x in t.train.items()}) for t in demo.tasks([0], SHAPE)]
    with pytest.raises(ValueError, match="give the Problem its function logits"):
        run(Problem(demo.loss), MAKE["lwf"](1.0), demo.init(0, SHAPE, (5,)), tasks, lambda p, t: 0.0, SETTINGS)
