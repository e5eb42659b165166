"""Attempts: equal to `generate` on the adapted model, in any batch, graded, and refused where they cannot be made."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_tasks

from seal_jax import adapters, generation, models
from seal_jax.data.problems import Problem
from seal_jax.transformer2 import accuracy, attempt
from seal_jax.transformer2.attempts import Attempt

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def model():
    made = toy_tasks.model()
    return made._replace(params=models.unroll(made.params))


@pytest.fixture(scope="module")
def task():
    return toy_tasks.task(lambda problem, text: None if problem.id == "p1" else len(text) % 2 == 0, count=5)


def test_they_are_what_generate_writes(model, task):
    found = attempt(model, task, task.train, rows=8)
    out = generation.generate(
        model.params, model.config, [p.prompt for p in task.train], None, 4, tokenizer=model.tokenizer
    )
    assert [[a.text for a in each] for each in found] == [[t] for t in out.texts]
    for [a], tokens, logprobs, text, problem in zip(found, out.tokens, out.logprobs, out.texts, task.train):
        assert a.tokens == tokens
        assert a.logprob == pytest.approx(sum(logprobs))
        assert a.correct is task.grade(problem, text)
    assert found[1][0].correct is None


def test_samples_depend_on_problem_and_number_alone(model, task):
    how = {"temperature": 1.0, "key": KEY}
    whole = attempt(model, task, task.train, samples=2, **how)
    alone = attempt(model, task, task.train[3:4], samples=2, **how)
    first = attempt(model, task, task.train[::-1], rows=2, **how)
    assert [a.tokens for a in alone[0]] == [a.tokens for a in whole[3]]
    assert [a.tokens for [a] in first[::-1]] == [each[0].tokens for each in whole]
    assert len({tuple(a.tokens) for each in whole for a in each}) > len(task.train)


def test_each_problem_under_its_expert(model, task):
    params = models.stack(model.params)
    factors = adapters.svf.factor(params)
    experts = [adapters.svf.init(jax.random.key(i), factors, std=2.0) for i in range(2)]
    bank = jax.tree.map(lambda *x: jnp.stack(x), *experts)
    ids = [0, 1, -1, 1, 0]
    mixed = attempt(model, task, task.train, adapters=bank, adapter_ids=ids, factors=factors)
    for n in (-1, 0, 1):
        alone = attempt(model, task, task.train, adapters=bank, adapter_ids=[n] * 5, factors=factors)
        for i, used in enumerate(ids):
            assert used != n or mixed[i][0].tokens == alone[i][0].tokens
    base = attempt(model, task, task.train)
    assert [a[0].tokens for a in alone] != [a[0].tokens for a in base]


def test_what_ended_a_row(model, task):
    """By a token it is that token; by a stop string or the limit it is none."""
    free = attempt(model, task, task.train)
    ending = free[0][0].tokens[2]
    named = model._replace(config=dataclasses.replace(model.config, eos_token_ids=(ending,)))
    [a] = attempt(named, task, task.train[:1])[0]
    assert (a.eos, a.finished) == (ending, True)
    assert a.tokens == free[0][0].tokens[: free[0][0].tokens.index(ending)]
    word = model.tokenizer.decode([ending])
    [b] = attempt(model, task._replace(stop=(word,)), task.train[:1])[0]
    assert (b.eos, b.finished, b.tokens) == (None, True, a.tokens)
    assert (free[0][0].eos, free[0][0].finished) == (None, False)


def test_the_answer_ends_where_the_context_does(model, task):
    long = Problem("long", "red " * 24, "x")
    most = model.config.max_position
    count = len(model.tokenizer.encode(long.prompt))
    assert count < most < count + 30, count
    [[a]] = attempt(model, task._replace(max_new_tokens=30), [long])
    assert len(a.tokens) <= most - count
    full = Problem("full", "red " * 80, "x")
    with pytest.raises(ValueError, match=r"problem 'full': the prompt has \d+ tokens and fills .* 64"):
        attempt(model, task, [full])


def test_bad_arguments(model, task):
    bank = {"layers/mlp/up_proj/kernel": {"raw": np.zeros((2, 2, 32), np.float32)}}
    with pytest.raises(ValueError, match="pass both"):
        attempt(model, task, task.train, adapters=bank)
    with pytest.raises(ValueError, match="5 numbers from -1"):
        attempt(model, task, task.train, adapters=bank, adapter_ids=[0, 2, 0, 0, 0])
    with pytest.raises(ValueError, match="no tokenizer"):
        attempt(model._replace(tokenizer=None), task, task.train)
    assert attempt(model, task, []) == []


def test_accuracy_is_over_graded_problems():
    def each(*verdicts):
        return [Attempt([], "", v, 0.0, True) for v in verdicts]

    mean, error = accuracy([each(True, False), each(True, None), each(None), each(False)])
    assert mean == pytest.approx(0.5)
    assert error == pytest.approx(0.5 / 3**0.5)
    assert np.isnan(accuracy([each(None)])).all()
    assert accuracy([each(True)])[0] == 1.0
