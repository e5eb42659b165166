"""An iteration of REINFORCE: what becomes a row, what is reported, and settings that cannot be."""

import dataclasses

import jax
import numpy as np
import pytest
import toy_tasks

from seal_jax import adapters, models
from seal_jax.data.problems import Problem
from seal_jax.transformer2 import reinforce, supervised
from seal_jax.transformer2.attempts import Attempt, encode_problems
from seal_jax.transformer2.update import begin, layered


@pytest.fixture(scope="module")
def model():
    made = toy_tasks.model()
    return made._replace(params=models.unroll(made.params))


@pytest.fixture(scope="module")
def svf(model):
    """Factors, cut up, and an expert of them."""
    factors = adapters.svf.factor(models.stack(model.params))
    return layered(factors, model.config), adapters.svf.init(jax.random.key(0), factors)


def attempts(*verdicts, tokens=(5, 6, 7), eos=2):
    return [[Attempt(list(tokens), "", verdict, 0.0, True, eos)] for verdict in verdicts]


def rows(model, verdicts, **settings):
    problems = toy_tasks.problems(len(verdicts))
    task = toy_tasks.task(None)
    chosen = reinforce.Settings(**settings)
    rewards = [[None if v is None else 1.0 if v else -1.0] for v in verdicts]
    return reinforce.rows_of(model, task, problems, attempts(*verdicts), rewards, chosen)


def test_rows_of_attempts(model):
    """Divided by the graded attempts; the ungraded one is no row and in no number."""
    found = rows(model, [True, None, False, False], kl_coefficient=0.3)
    prompts = encode_problems(model, toy_tasks.task(None), toy_tasks.problems(4))
    assert [row.prompt for row in found] == [prompts[i].tolist() for i in (0, 2, 3)]
    assert [row.completion for row in found] == [[5, 6, 7, 2]] * 3
    np.testing.assert_allclose([row.weight for row in found], [1 / 3, -1 / 3, -1 / 3])
    np.testing.assert_allclose([row.divergence for row in found], [0.1] * 3)


def test_mean_over_tokens_and_without_the_end(model):
    [row] = rows(model, [True], tokens="mean", eos="out", kl_coefficient=0.3)
    assert row.completion == [5, 6, 7]
    assert (row.weight, row.divergence) == pytest.approx((1 / 3, 0.1))


def test_rows_that_change_nothing_are_left_out(model):
    assert rows(model, [True, True], baseline="mean") == []
    assert rows(model, [True, True], baseline="mean", report_kl=True) == []
    assert rows(model, [None, None]) == []
    kept = rows(model, [True, True], baseline="mean", kl_coefficient=0.2)
    assert [(row.weight, row.divergence) for row in kept] == [(0.0, 0.1)] * 2
    assert [row.weight for row in rows(model, [True, True])] == [0.5, 0.5]  # without a baseline all are made likelier


def step(model, svf, task, settings, reward=None, iteration=0):
    factors, expert = svf
    state = begin(expert, settings.program(model.config))
    return reinforce.step(model, state, factors, task, settings, iteration, 0, reward)


SETTINGS = reinforce.Settings(batch_size=100, baseline="mean", learning_rate=0.1, report_kl=True)


def test_a_batch_larger_than_the_split_is_all_of_it(model, svf):
    task = toy_tasks.task(lambda problem, text: problem.id in ("p0", "p3"), count=6)
    state, metrics = step(model, svf, task, SETTINGS)
    assert (metrics["attempts"], metrics["accuracy"], metrics["ungraded"]) == (6, pytest.approx(1 / 3), 0)
    assert metrics["reward"] == pytest.approx(-1 / 3)
    assert metrics["updated"]
    assert metrics["grad_norm"] > 0
    assert metrics["divergence"] == pytest.approx(0.0, abs=1e-3)  # a fresh expert is nearly the base
    assert any(np.abs(state.adapter[path]["raw"] - svf[1][path]["raw"]).max() > 0.05 for path in svf[1])


@pytest.mark.parametrize("verdict", [True, False, None])
def test_equal_rewards_under_a_baseline_are_no_update(model, svf, verdict):
    """Said in the metrics; neither adapter nor optimizer move, and no number is NaN."""
    state, metrics = step(model, svf, toy_tasks.task(lambda problem, text: verdict, count=6), SETTINGS)
    assert (metrics["updated"], metrics["signal"], metrics["grad_norm"], metrics["loss"]) == (False, 0.0, 0.0, 0.0)
    assert all(np.array_equal(state.adapter[path]["raw"], svf[1][path]["raw"]) for path in svf[1])
    assert int(state.optimizer.count) == 0
    assert metrics["ungraded"] == (6 if verdict is None else 0)
    assert not any(isinstance(x, float) and np.isnan(x) for x in metrics.values())


def test_a_reward_of_ones_own(model, svf):
    task = toy_tasks.task(lambda problem, text: True, count=6)
    seen = []

    def reward(problem, one):
        seen.append((problem.id, one.text))
        return None if problem.id == "p1" else float(len(seen))

    _, metrics = step(model, svf, task, SETTINGS, reward)
    assert (metrics["ungraded"], metrics["updated"], metrics["accuracy"]) == (1, True, 1.0)
    assert sorted(name for name, _ in seen) == [f"p{i}" for i in range(6)]
    with pytest.raises(ValueError, match=r"problem 'p\d': its reward is nan"):
        step(model, svf, task, SETTINGS, lambda problem, one: float("nan"))


def test_problems_are_drawn_anew_and_distinct():
    problems = toy_tasks.problems(20)
    draws = [[p.id for p in reinforce.drawn(problems, 8, 1, i)] for i in range(3)]
    assert all(len(set(draw)) == 8 for draw in draws)
    assert draws[0] != draws[1]
    assert draws[0] == [p.id for p in reinforce.drawn(problems, 8, 1, 0)]
    assert draws[0] != [p.id for p in reinforce.drawn(problems, 8, 2, 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 2}, "samples=2 at temperature 0 are one answer again and again"),
        ({"baseline": "group"}, "give samples=2 or more"),
        ({"kl_estimate": "sampled", "kl_coefficient": 0.1}, "needs answers drawn at temperature 1, not 0.0"),
        ({"kl": "both"}, "kl='both' is not one of 'forward', 'reverse'"),
        ({"schedule": "linear"}, "schedule='linear' is not one of 'constant', 'cosine'"),
        ({"eval_every": 0}, "eval_every=0: expected 1 or more"),
        ({"rows": 0}, "rows=0: expected 1 or more"),
        ({"validate_on": 0}, "validate_on=0: expected 1 or more"),
        ({"temperature": -1.0}, "temperature=-1.0: expected 0 or more"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: expected 0 or more"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1: expected 0 or more"),
        ({"clip": -1.0}, "clip=-1.0: expected 0 or more"),
        ({"kl_coefficient": float("nan")}, "kl_coefficient=nan: expected 0 or more"),
        ({"wrong": float("nan")}, "wrong=nan: a reward is a finite number"),
        ({"right": float("inf")}, "right=inf: a reward is a finite number"),
        ({"reward_clip": 0.0}, "reward_clip=0.0: expected more than 0, or None"),
        ({"compose": "summed"}, "compose='summed' is not one of 'scaled', 'plain'"),
    ],
)
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(reinforce.Settings(), **change)


@pytest.mark.parametrize(
    "change", [{"iterations": -1}, {"learning_rate": -1.0}, {"rows": 0}, {"validate_on": 0}, {"compose": "summed"}]
)
def test_settings_that_solutions_cannot_be_learnt_with(change):
    [(name, value)] = change.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        dataclasses.replace(supervised.Settings(), **change)


def test_released_defaults():
    s = reinforce.Settings()
    assert (s.batch_size, s.learning_rate, s.clip, s.schedule, s.temperature) == (256, 2e-3, 1e-3, "constant", 0.0)
    assert (s.right, s.wrong, s.baseline, s.normalize, s.kl, s.tokens) == (1.0, -1.0, "none", False, "forward", "sum")


def test_solutions_as_rows(model):
    """Tokens as they follow the prompt, one end-of-text, all of one weight; what has none is refused."""
    task = toy_tasks.task(None)
    problems = [Problem("a", "red green", "x", " blue old"), Problem("b", "red", "x", " small")]
    found = supervised.solution_rows(model, task, problems)
    encode, end = model.tokenizer.encode, model.tokenizer.eos_token_id
    for row, problem in zip(found, problems):
        assert [*row.prompt, *row.completion] == [*encode(problem.prompt + problem.solution), end]
    assert {row.weight for row in found} == {1 / sum(len(row.completion) for row in found)}
    with pytest.raises(ValueError, match="1 of 2 problems have no solution to learn from, 'c' first"):
        supervised.solution_rows(model, task, [problems[0], Problem("c", "red", "x")])
    long = Problem("long", "red", "x", " blue" * 100)
    [row] = supervised.solution_rows(model, task, [long])
    assert len(row.prompt) + len(row.completion) == model.config.max_position
