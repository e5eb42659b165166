"""A stream of tasks learned by an adapter on a frozen decoder, from rows to what is kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seal_jax import adapters, continual, models, training
from seal_jax.continual import language, losses, methods, projections, replay, task_stream
from seal_jax.continual.language_dark import dark_language
from seal_jax.continual.method import Method, Scene, State
from seal_jax.continual.run import run
from seal_jax.continual.task_stream import Settings, Task
from seal_jax.runtime import mesh

CONFIG = models.Config("llama", 61, 32, 48, 2, 4, 2, 8, 128)
RATE, PAIRS, TASKS = 3e-3, 8, 3
SETTINGS = Settings(batch_size=4, epochs=40)
LORA = {"rank": 8, "alpha": 16, "targets": ("all",)}


@pytest.fixture(scope="module")
def params():
    """Random weights, large enough for the model to tell tokens apart."""
    return jax.tree.map(lambda x: 5 * x if x.ndim > 1 else x, models.init(jax.random.key(0), CONFIG))


def tasks_of(conflict):
    """Prompt [1, key], answer [value, 2]; with `conflict` all tasks have the same keys."""
    made = []
    for task in range(TASKS):
        keys = np.arange(PAIRS) + (3 if conflict else 3 + task * PAIRS)
        values = 30 + np.random.default_rng(task).permutation(30)[:PAIRS]
        pairs = [([1, int(k)], [int(v), 2]) for k, v in zip(keys, values)]
        made.append(Task(f"keys {task}", language.rows(pairs, length=4), values))
    return made


@pytest.fixture(scope="module")
def stream():
    return tasks_of(conflict=False)


@pytest.fixture(scope="module")
def known(params):
    """`evaluate`: the share of keys whose value is the likeliest token."""

    @functools.partial(jax.jit, static_argnames="attach")
    def logits(adapter, tokens, mask, attach):
        found = attach(params, adapter, None)
        return models.forward(found.student if isinstance(found, losses.Taught) else found, CONFIG, tokens, mask)

    def evaluate(adapter, task, attach=adapters.attach):
        found = logits(adapter, task.train["tokens"], task.train["mask"], attach)
        return float((np.asarray(found)[:, 1].argmax(-1) == task.test).mean())

    return evaluate


@pytest.fixture(scope="module")
def adapter(params):
    return adapters.lora.init(jax.random.key(1), params, **LORA)


def adam(*after):
    return optax.chain(training.adamw(training.Hyper(RATE, 1), training.constant_schedule), *after)


@pytest.fixture(scope="module")
def naive(params, adapter, stream, known):
    return run(language.problem(params, CONFIG), Method(adam()), adapter, stream, known, SETTINGS)


def test_every_task_is_learned_and_forgotten(naive):
    assert np.diagonal(naive.matrix).mean() > 0.95
    assert naive.baseline.max() <= 0.25
    assert naive.matrix[-1, 0] < 0.6


def test_it_is_finetune_in_a_row(params, adapter, stream, naive):
    """Ten steps of the first task against `training.finetune` on the same batches."""
    settings = naive.losses.shape[1]
    part = task_stream.parts(stream, SETTINGS, None, [SETTINGS.seed])[0]
    batches = {name: x[part.order] for name, x in stream[0].train.items()}
    _, metrics = training.finetune(params, CONFIG, adapter, batches, training.Hyper(RATE, settings), adam())
    np.testing.assert_allclose(naive.losses[0, :10], metrics["loss"][:10], rtol=1e-5)


def test_replay_keeps_what_was_learned(params, adapter, stream, known, naive):
    method = methods.rehearsing(Method(adam()), replay.Reservoir(PAIRS * TASKS), rows=4)
    kept = run(language.problem(params, CONFIG), method, adapter, stream, known, SETTINGS)
    np.testing.assert_allclose(kept.losses[0, :10], naive.losses[0, :10], rtol=1e-5)  # empty rows count nothing
    assert kept.matrix[-1].mean() > naive.matrix[-1].mean() + 0.2
    assert kept.matrix[-1].mean() > 0.9


@pytest.mark.parametrize("compiled", [True, False])
def test_ewc_on_an_adapter(params, adapter, stream, known, naive, compiled):
    method = methods.consolidating(Method(adam(continual.ewc(3.0, RATE))), language.fisher_importance(CONFIG))
    method = method._replace(compiled=compiled)
    found = run(language.problem(params, CONFIG), method, adapter, stream, known, SETTINGS)
    assert found.matrix[-1].mean() > naive.matrix[-1].mean()
    moved = jax.tree.map(lambda x: x + 0.1, training.trainable(found.state.params))
    assert continual.penalty(found.state.optimizer, moved) > 0


def test_mas_and_a_schedule(params, adapter, stream, known):
    hyper = training.Hyper(RATE, 180)
    rate = functools.partial(training.linear_schedule, hyper)
    tx = optax.chain(training.adamw(hyper), continual.mas(1.0, rate))
    method = methods.consolidating(Method(tx, reset=True), language.output_importance(CONFIG))
    found = run(language.problem(params, CONFIG), method, adapter, stream, known, Settings(batch_size=4, epochs=2))
    assert np.isfinite(found.losses).all()


def test_lwf_keeps_to_the_adapter_of_before(params, adapter, stream, known):
    problem = language.problem(params, CONFIG, losses.LwfLoss(1.0, 2.0), attach_fn=losses.attach_taught)
    evaluate = functools.partial(known, attach=losses.attach_taught)
    found = run(problem, language.teaching(Method(adam())), losses.teach(adapter), stream, evaluate, SETTINGS)
    assert np.diagonal(found.matrix).mean() > 0.5
    teacher = jax.tree.leaves({path: entry["teacher"] for path, entry in found.state.params.items()})
    assert any(np.abs(x).max() > 0 for x in teacher)


def test_der_keeps_logits_of_the_end_of_a_task(params, adapter, stream, known, naive):
    problem = language.problem(params, CONFIG, losses.der_loss(0.3, 1.0))
    method = dark_language(Method(adam()), CONFIG, replay.Reservoir(PAIRS * TASKS), rows=4, k=8)
    found = run(problem, method, adapter, stream, known, SETTINGS)
    np.testing.assert_allclose(found.losses[0, :10], naive.losses[0, :10], rtol=1e-5)
    assert found.matrix[-1].mean() > naive.matrix[-1].mean() + 0.2
    memory = found.state.memory["dark"]
    last = np.flatnonzero(np.asarray(memory.task) == TASKS - 1)
    rows = {name: memory.items[name][last] for name in ("tokens", "mask")}
    ids, kept = losses.top_logits(adapters.attach(params, found.state.params), CONFIG, rows, 8)
    np.testing.assert_array_equal(memory.items["topk_ids"][last], ids)
    np.testing.assert_allclose(memory.items["topk_logits"][last], kept, atol=1e-4)
    assert not np.allclose(memory.items["topk_logits"][0], 0.0)


def test_der_keeps_the_logits_of_the_task_that_a_row_came_from(params, adapter, stream):
    """Of a memory that moves its rows as tasks come."""
    ends = []
    problem = language.problem(params, CONFIG, losses.der_loss(0.3, 1.0))
    method = dark_language(Method(adam()), CONFIG, replay.Balanced(PAIRS), rows=4, k=8)

    def score(found, task):
        if task is stream[0]:
            ends.append(jax.tree.map(np.array, found))
        return 0.0

    memory = run(problem, method, adapter, stream, score, Settings(batch_size=4, epochs=4)).state.memory["dark"]
    rows = {name: memory.items[name] for name in ("tokens", "mask")}
    assert set(np.asarray(memory.task).tolist()) == set(range(TASKS))
    for task, learned in enumerate(ends[1:]):
        ids, kept = losses.top_logits(adapters.attach(params, learned), CONFIG, rows, 8)
        of = np.asarray(memory.task) == task
        np.testing.assert_array_equal(memory.items["topk_ids"][of], ids[of])
        np.testing.assert_allclose(memory.items["topk_logits"][of], kept[of], atol=1e-4)


def test_der_has_no_room_for_the_logits_of_all_rows_of_a_task(params, adapter):
    count, length, k = 2000, 32, 8
    problem = language.problem(params, CONFIG, losses.der_loss())
    method = dark_language(Method(adam()), CONFIG, replay.Reservoir(8), rows=4, k=k)
    rows = {"tokens": jnp.zeros((count, length), jnp.int32), "mask": jnp.ones((count, length), bool)}
    row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)
    state = State(adapter, (), method.memory(adapter, row))
    scene = Scene(problem, rows, jnp.int32(count), rows, jnp.int32(0), jax.random.key(0))
    compiled = (
        jax.jit(lambda state, rows: method.end_task(state, scene._replace(rows=rows))).lower(state, rows).compile()
    )
    assert compiled.memory_analysis().temp_size_in_bytes < count * length * k * 8 / 2


def test_a_stack_of_adapters(params, stream, known):
    fresh = lambda key: adapters.lora.init(key, params, **LORA)  # noqa: E731
    tx = optax.chain(continual.olora(1.0, 16), adam())
    method = methods.stacking(Method(tx), fresh, last=TASKS - 1)
    start = projections.room(fresh(jax.random.key(1)), 16)
    found = run(language.problem(params, CONFIG), method, start, stream, known, SETTINGS)
    assert np.diagonal(found.matrix).mean() > 0.95
    assert found.matrix[-1].shape == (TASKS,)


def test_all_weights(params, stream, known):
    problem = language.problem(params, CONFIG, attach_fn=training.full_parameters)
    start = jax.tree.map(lambda p: jnp.array(p, jnp.float32), params)
    evaluate = lambda found, task: 0.0  # noqa: E731
    importance = language.fisher_importance(CONFIG, attach_fn=training.full_parameters)
    method = methods.consolidating(Method(optax.chain(adam(), continual.ewc(1.0, RATE))), importance)
    found = run(problem, method, start, stream, evaluate, Settings(batch_size=4, epochs=5, accumulate=2))
    assert (found.losses[:, -1] < found.losses[:, 0]).all()


def test_on_a_mesh(params, adapter, stream, naive):
    """Rows of a step over four devices: the losses of the first steps are those of one device."""
    devices = mesh.make_mesh("data=4", jax.devices()[:4])
    placed = mesh.replicate(params, devices)
    method = methods.rehearsing(Method(adam()), replay.Reservoir(PAIRS), rows=4)
    short = Settings(batch_size=4, epochs=2)
    there = run(
        language.problem(placed, CONFIG), method, mesh.replicate(adapter, devices), stream, lambda *_: 0.0, short
    )
    here = run(language.problem(params, CONFIG), method, adapter, stream, lambda *_: 0.0, short)
    np.testing.assert_allclose(there.losses, here.losses, rtol=1e-4)


def test_rows_keep_answers_and_cut_prompts():
    made = language.rows([([1, 2, 3, 4], [7, 8]), ([5], [9])], length=4, pad_id=60)
    assert made["tokens"].tolist() == [[3, 4, 7, 8], [5, 9, 60, 60]]
    assert made["mask"].tolist() == [[True] * 4, [True, True, False, False]]
    assert made["loss_mask"].tolist() == [[False, False, True, True], [False, True, False, False]]
    plain = language.text_rows([[1, 2, 3], [4, 5, 6, 7, 8]], length=4)
    assert plain["loss_mask"].tolist() == [[False, True, True, False], [False, True, True, True]]
    assert language.rows([([1], [2])])["tokens"].shape == (1, 16)


@pytest.mark.parametrize("pair", [([1, 2], []), ([], [3]), ([1], [2, 3, 4, 5])])
def test_pairs_without_room(pair):
    with pytest.raises(ValueError, match="pair 0 has"):
        language.rows([pair], length=4)
