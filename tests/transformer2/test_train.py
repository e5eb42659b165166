"""Training an expert: it learns, a killed run goes on to the same numbers, and the best on validation is kept."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import jax
import micro_training
import numpy as np
import pytest
import toy_tasks

from seal_jax import adapters, runtime
from seal_jax.transformer2 import reinforce, scores, supervised, task_graders, train_expert

SCRIPT = pathlib.Path(micro_training.__file__)


@pytest.fixture(scope="module")
def model():
    return toy_tasks.model()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, model):
    """A training that nothing interrupted."""
    return micro_training.run(tmp_path_factory.mktemp("whole"), model=model)


def same(one, other):
    for a, b in zip(one, other):
        if isinstance(a, dict) and "layers/mlp/up_proj/kernel" in a:
            for path in a:
                np.testing.assert_array_equal(a[path]["raw"], b[path]["raw"])
        else:
            assert a == b


def test_what_is_told(whole):
    assert [row["iteration"] for row in whole.history] == [0, 1, 2, 3, 4]
    assert [row["iteration"] for row in whole.validations] == [0, 2, 4, 5]
    assert whole.stopped == "iterations"
    assert whole.best == max(whole.validations, key=lambda row: row["accuracy"])  # the earliest of equals
    assert len(whole.verdicts) == 8
    assert whole.test == np.mean(whole.verdicts)
    rates = [abs(b["z_max"] - a["z_max"]) for a, b in zip(whole.history, whole.history[1:])]
    assert rates[-1] < rates[0]  # the cosine
    assert set(whole.history[0]) >= {"reward", "accuracy", "loss", "grad_norm", "signal", "updated", "z_mean"}


def test_killed_and_resumed_it_is_the_same(tmp_path, whole, model):
    """Killed at the third checkpoint, after two updates that are done again."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir)}
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, "reinforce", "3"],
        env={**os.environ, **cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr
    assert (tmp_path / "checkpoints/toy").is_dir()
    progress = []
    resumed = micro_training.run(tmp_path, model=model, on_progress=progress.append)
    assert progress[0] == 2
    assert sum(progress) == 5
    same(resumed, whole)
    rows = [row for row in runtime.files.JsonLines(tmp_path / "metrics.jsonl").rows if row["split"] == "train"]
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3, 4]
    assert not (tmp_path / "checkpoints/toy").exists()
    same(micro_training.run(tmp_path, model=model), whole)  # finished: loaded


def test_reward_rises(tmp_path, model):
    """Answers of one token; right are those that begin with a letter of the first half."""
    settings = reinforce.Settings(
        iterations=12,
        batch_size=16,
        samples=8,
        temperature=1.0,
        baseline="mean",
        learning_rate=0.3,
        clip=0.0,
        eval_every=12,
        micro_batch=128,
        rows=128,
    )
    factors = adapters.svf.factor(model.params)
    expert = adapters.svf.init(jax.random.key(0), factors)
    task = toy_tasks.task(micro_training.grade, count=16, max_new_tokens=1)
    with runtime.Run(tmp_path, {}) as run:
        found = train_expert(run, model, expert, factors, task, settings)
    rewards = [row["reward"] for row in found.history]
    # 384 answers on either side: a standard error of 0.07 for the difference.
    assert np.mean(rewards[-3:]) - np.mean(rewards[:3]) > 0.3


def test_solutions_are_learnt(tmp_path, model):
    found = micro_training.run(tmp_path, "supervised", model)
    losses = [row["loss"] for row in found.history]
    assert losses[-1] < losses[0] - 0.1
    assert found.stopped == "iterations"


def verdicts_of(values, monkeypatch):
    """Validation accuracies that are given, in turn."""
    given = iter(values)

    def summary(verdicts):
        return {"accuracy": next(given, 0.0), "stderr": 0.1}

    monkeypatch.setattr(scores, "summary", summary)


def test_patience_and_the_best(tmp_path, model, monkeypatch):
    """0.2 0.4 0.4 0.3: the second is kept, and two without a new best are the end."""
    verdicts_of([0.2, 0.4, 0.4, 0.3, 0.9], monkeypatch)
    settings = dataclasses.replace(
        micro_training.SETTINGS["supervised"], iterations=9, eval_every=1, patience=2, schedule="constant"
    )
    found = micro_training.run(tmp_path / "a", "supervised", model, settings)
    assert found.stopped == "patience"
    assert (found.best["iteration"], found.best["accuracy"]) == (1, 0.4)
    assert len(found.history) == 3
    verdicts_of([0.2, 0.4], monkeypatch)
    short = micro_training.run(
        tmp_path / "b", "supervised", model, dataclasses.replace(settings, iterations=1, patience=0)
    )
    same(found[:1], short[:1])


@pytest.mark.parametrize("baseline", ["none", "mean"])
def test_a_model_that_never_answers_in_the_format_keeps_its_first_expert(tmp_path, model, baseline):
    """Numbers are asked for and words come: all rewards are -1, nothing is better than the start, and it is said so.

    Without a baseline, as released, every answer is made less likely; with one, equal rewards teach nothing.
    """
    task = toy_tasks.task(task_graders.number("fixed"), max_new_tokens=2)
    splits = ("train", "validation", "test")
    task = task._replace(**{split: [p._replace(answer="7") for p in getattr(task, split)] for split in splits})
    factors = adapters.svf.factor(model.params)
    start = adapters.svf.init(jax.random.key(0), factors)
    settings = reinforce.Settings(iterations=2, batch_size=6, eval_every=1, baseline=baseline)
    with runtime.Run(tmp_path, {}) as run:
        found = train_expert(run, model, start, factors, task, settings)
    assert (found.test, found.best["accuracy"], found.best["iteration"], found.stopped) == (0.0, 0.0, 0, "iterations")
    assert [row["reward"] for row in found.history] == [-1.0, -1.0]
    assert [row["updated"] for row in found.history] == [baseline == "none"] * 2
    for path, entry in start.items():
        np.testing.assert_array_equal(found.adapter[path]["raw"], entry["raw"])


def test_numbers_that_are_no_longer_finite_end_it(tmp_path, model):
    settings = dataclasses.replace(micro_training.SETTINGS["supervised"], learning_rate=float("inf"))
    found = micro_training.run(tmp_path, "supervised", model, settings)
    assert found.stopped == "diverged"
    assert found.best["iteration"] == 0
    assert all(np.isfinite(entry["raw"]).all() for entry in found.adapter.values())


def test_tasks_that_cannot_be_trained(tmp_path, model):
    task = toy_tasks.task(lambda problem, text: None)
    factors = adapters.svf.factor(model.params)
    expert = adapters.svf.init(jax.random.key(0), factors)
    settings = supervised.Settings(iterations=1)
    with runtime.Run(tmp_path, {}) as run:
        with pytest.raises(ValueError, match="task 'toy' has no validation problems"):
            train_expert(run, model, expert, factors, task._replace(validation=[]), settings)
        with pytest.raises(ValueError, match="none of its 8 validation answers was graded"):
            train_expert(run, model, expert, factors, task, settings)
        with pytest.raises(ValueError, match="reward= is for learning from reward"):
            train_expert(run, model, expert, factors, task, settings, reward=lambda problem, one: 1.0)
