"""Few-shot search: a population at once is each candidate alone, generations resume, and only the shots decide."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_tasks

from seal_jax import adapters, generation, models
from seal_jax.runtime.mesh import make_mesh
from seal_jax.runtime.placement import shard_params
from seal_jax.transformer2 import cem, random_search, scores
from seal_jax.transformer2.attempts import Attempt
from seal_jax.transformer2.few_shot import FewShot, few_shot, score
from seal_jax.transformer2.mixing import mix_experts

SETTINGS = FewShot(generations=2, at_once=4, cem=cem.Settings(population=6, elite_ratio=0.4))


@pytest.fixture(scope="module")
def world():
    """A model, factors, two experts, and a task whose right answers are what the second expert writes."""
    model = toy_tasks.model()
    factors = adapters.svf.factor(model.params)
    experts = [adapters.svf.init(jax.random.key(i), factors, std=2.0) for i in range(2)]
    params = models.unroll(adapters.materialize(adapters.attach(model.params, experts[1], factors)))
    task = toy_tasks.task(lambda problem, text: text == problem.answer, count=6)
    out = generation.generate(params, model.config, [p.prompt for p in task.test], None, 4, tokenizer=model.tokenizer)
    test = [p._replace(answer=text) for p, text in zip(task.test, out.texts)]
    return model._replace(params=models.unroll(model.params)), factors, experts, task._replace(test=test)


@pytest.fixture(scope="module")
def searched(world):
    model, factors, experts, task = world
    items = {}
    return few_shot(model, experts, factors, task, task.test[:3], SETTINGS, jax.random.key(4), items=items), items


def one_by_one(world, alpha, shots):
    """The two values of one candidate, without any of the search."""
    model, factors, experts, _ = world
    mixture = mix_experts(experts, alpha)
    params = models.unroll(adapters.attach(models.stack(model.params), mixture, factors))
    out = generation.generate(params, model.config, [p.prompt for p in shots], None, 4, tokenizer=model.tokenizer)
    right = [text == p.answer for p, text in zip(shots, out.texts)]
    each = [np.mean(logprobs) for ok, logprobs in zip(right, out.logprobs) if ok]
    return np.mean(right), np.mean(each) if each else None


def test_a_population_at_once_is_each_candidate_alone(world, searched):
    found, items = searched
    how = SETTINGS.cem
    state = cem.init(jnp.full((2, 1), 0.5), how)
    for number in range(2):
        candidates = cem.ask(state, jax.random.key(4), how)
        wanted = [one_by_one(world, alpha, world[3].test[:3]) for alpha in candidates]
        values = items[f"generation-{number}"]
        assert values["fitness"] == pytest.approx([w for w, _ in wanted])
        for tie, (_, expected) in zip(values["ties"], wanted):
            assert (tie is None) == (expected is None)
            assert expected is None or tie == pytest.approx(expected, abs=1e-4)
        ties = jnp.asarray([-jnp.inf if t is None else t for t in values["ties"]])
        state = cem.tell(state, candidates, jnp.asarray(values["fitness"]), ties, how)
    np.testing.assert_array_equal(found.alpha, state.found.candidate)
    jax.tree.map(np.testing.assert_array_equal, found.adapter, mix_experts(world[2], found.alpha))
    assert found.fitness == max(max(values["fitness"]) for values in items.values()) > 0
    assert [row["found"] for row in found.history] == sorted(row["found"] for row in found.history)
    assert found.history[-1]["weights"] == pytest.approx(np.asarray(found.alpha)[:, 0].tolist())


def test_few_rows_at_once_find_the_same(world, searched, monkeypatch):
    """Candidates that are tried at once are answered in batches of as many rows as there is memory for."""
    model, factors, experts, task = world
    sizes, write = [], generation.generate

    def counted(params, config, prompts, *rest, **how):
        sizes.append(len(prompts))
        return write(params, config, prompts, *rest, **how)

    monkeypatch.setattr(generation, "generate", counted)
    items = {}
    found = few_shot(model, experts, factors, task, task.test[:3], SETTINGS, jax.random.key(4), rows=5, items=items)
    assert max(sizes) == 5
    # Which of nearly equal ties wins may differ in the last digits, and with it the next generation's candidates.
    values, wanted = items["generation-0"], searched[1]["generation-0"]
    assert values["fitness"] == wanted["fitness"]
    assert [tie is None for tie in values["ties"]] == [tie is None for tie in wanted["ties"]]
    for tie, expected in zip(values["ties"], wanted["ties"]):
        assert tie is None or tie == pytest.approx(expected, abs=1e-5)
    assert found.fitness == searched[0].fitness


def test_finished_generations_are_not_tried_again(world, searched):
    model, factors, experts, task = world
    found, items = searched
    counted, ended = [], []

    def grade(problem, text):
        counted.append(problem.id)
        return text == problem.answer

    half = {"generation-0": items["generation-0"]}
    again = few_shot(
        model, experts, factors, task._replace(grade=grade), task.test[:3], SETTINGS, jax.random.key(4), items=half,
        on_progress=ended.append,
    )  # fmt: skip
    assert len(counted) == 6 * 3
    assert set(counted) == {p.id for p in task.test[:3]}  # no other problem is ever answered
    assert ended == [1, 1]
    np.testing.assert_array_equal(again.alpha, found.alpha)
    assert again.history == found.history


def test_the_last_generation_by_name_and_random_search(world):
    model, factors, experts, task = world
    given = {
        "generation-0": {"fitness": [0.0, 1.0, 0.0, 0.0], "ties": [None, -1.0, None, None], "unusable": 0},
        "generation-1": {"fitness": [0.5, 0.0, 0.5, 0.0], "ties": [-2.0, None, -1.0, None], "unusable": 1},
    }
    settings = FewShot("random", 2, random=random_search.Settings(population=4), at_once=4)
    run = lambda how: few_shot(model, experts, factors, task, task.test[:1], how, items=dict(given))  # noqa: E731
    whole, last = run(settings), run(dataclasses.replace(settings, keep="last"))
    assert (whole.fitness, whole.tie) == (1.0, -1.0)
    assert (last.fitness, last.tie) == (0.5, -1.0)
    assert not np.array_equal(whole.alpha, last.alpha)
    assert [row["unusable"] for row in whole.history] == [0, 1]


def test_a_mixture_that_cannot_be_scaled_is_no_candidate(world):
    """Raw mixing can give z that sum to nothing; the search goes on, and counts them."""
    model, factors, experts, task = world
    path = next(iter(factors))
    s = factors[path]["s"]
    raw = jnp.where(jnp.arange(s.shape[-1]) == 0, -s[:, 1:].sum(-1, keepdims=True) / s[:, :1], 1.0)
    settings = FewShot("random", 1, mix="raw", random=random_search.Settings(population=2), at_once=2)
    found = few_shot(model, [{**experts[1], path: {"raw": raw}}], factors, task, task.test[:1], settings)
    assert found.history[0]["unusable"] == 2
    assert (found.fitness, found.tie) == (0.0, -np.inf)


def test_on_a_mesh(world, searched):
    """The same values where weights and rows are split over devices."""
    model, factors, experts, task = world
    mesh = make_mesh("data=4,model=2")
    params = shard_params(models.stack(model.params), mesh, model.config)
    how = dataclasses.replace(SETTINGS, generations=1, at_once=6)
    split, items = model._replace(params=params), {}
    factors = adapters.svf.factor(params)
    few_shot(split, experts, factors, task, task.test[:3], how, jax.random.key(4), items=items)
    values, wanted = items["generation-0"], searched[1]["generation-0"]
    assert values["fitness"] == wanted["fitness"]
    assert [t or 0.0 for t in values["ties"]] == pytest.approx([t or 0.0 for t in wanted["ties"]], abs=1e-4)


def test_values_of_a_candidate():
    made = lambda correct, logprob, tokens: Attempt([0] * tokens, "", correct, logprob, True)  # noqa: E731
    assert score([made(True, -2.0, 4), made(True, -3.0, 1), made(False, -9.0, 3), made(None, -1.0, 1)]) == (
        2 / 3,
        -1.75,
    )
    assert score([made(False, -1.0, 1)]) == (0.0, None)
    with pytest.raises(ValueError, match="none of a candidate's answers could be graded"):
        score([made(None, -1.0, 1)])


def test_bad_input(world):
    model, factors, experts, task = world
    with pytest.raises(ValueError, match="the few-shot set is empty"):
        few_shot(model, experts, factors, task, [], SETTINGS)
    with pytest.raises(ValueError, match="there is no expert to mix"):
        few_shot(model, [], factors, task, task.test, SETTINGS)
    with pytest.raises(ValueError, match="generations 0: use 1 or more"):
        FewShot(generations=0)
    for wrong in ({"search": "cma"}, {"per": "head"}, {"mix": "w"}, {"keep": "first"}):
        [(name, value)] = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value!r} is not one of"):
            FewShot(**wrong)


def test_scores_of_the_same_problems():
    found = scores.compared({"base": [True, False, False, None], "mix": [True, True, True, True]})
    assert found["base"]["accuracy"] == pytest.approx(1 / 3)
    assert (found["base"]["ungraded"], found["mix"]["problems"]) == (1, 4)
    assert "ungraded" not in found["mix"]
    difference = found["differences"]["mix - base"]
    assert difference == {
        "difference": pytest.approx(2 / 3),
        "stderr": pytest.approx(np.std([0, 1, 1], ddof=1) / 3**0.5),
        "problems": 3,
    }
    assert np.isnan(scores.summary([None])["accuracy"])
    with pytest.raises(ValueError, match="1 verdicts and 2"):
        scores.paired([True], [True, False])


def test_verdicts_are_of_the_base_or_of_one_adapter(world):
    model, factors, experts, task = world
    assert scores.verdicts(model, task, task.test, experts[1], factors) == [True] * 6
    assert scores.verdicts(model, task, task.test) != [True] * 6
