"""The shipped checkpoint of the grids world: it reads, fails at rules it never saw, learns them, writes valid edits."""

import jax
import numpy as np
import pytest

from seal_jax import generation, models
from seal_jax.data.worlds import grids, grids_tokenizer
from seal_jax.seal import reward
from seal_jax.seal.arc import EditConfig, demo, edit_prompt, parse_edit, trials
from seal_jax.seal.arc.texts import Texts


@pytest.fixture(scope="module")
def model():
    return models.from_pretrained(demo.CHECKPOINT)


@pytest.fixture(scope="module")
def texts(model):
    return Texts(model.tokenizer, model.config.max_position, demo.SETTINGS)


def solved(outcomes):
    return np.array([outcome["correct"] for outcome in outcomes], float)


def test_its_files(model):
    """At most 4 MB in all, Llama in the Hugging Face layout, with the tokenizer that the world builds."""
    assert sum(f.stat().st_size for f in demo.CHECKPOINT.iterdir()) <= 4_000_000
    assert model.config.model_type == "llama"
    fresh = grids_tokenizer.build()
    assert model.tokenizer.get_vocab() == fresh.get_vocab()
    assert model.tokenizer.chat_template == fresh.chat_template
    assert model.config.eos_token_ids == (fresh.eos_token_id,)
    for text in ("[[1 2 3]\n [0 0 0]] -> ", "naïve café ☃ 12 [ 1"):
        assert model.tokenizer.encode(text) == fresh.encode(text)


@pytest.fixture(scope="module")
def in_context(model, texts):
    """What is solved as it stands, `[tasks]`: pretraining rules with 2, 3 and 4 demonstrations, and the dev split."""
    known = [grids.tasks("pretraining", 38, seed=11, demos=demos) for demos in (2, 3, 4)]
    asked = [*known, grids.tasks("dev", 48, seed=11)]
    outcomes = solved(trials.ask(model, [task for tasks in asked for task in tasks], texts, augmented=False))
    return np.split(outcomes, np.cumsum([len(tasks) for tasks in asked])[:-1])


def test_it_solves_tasks_of_its_pretraining_rules(in_context):
    for outcomes in in_context[:3]:
        assert outcomes.mean() >= 0.8


def test_it_fails_at_held_out_rules_and_compositions(in_context):
    assert in_context[3].mean() <= 0.25


def test_training_at_test_time_teaches(model, texts, in_context):
    tasks = grids.tasks("dev", 16, seed=11)
    good = EditConfig((), "train_using_output_tokens", 3e-3, 4)
    outcomes = solved(trials.run_trials(model, [trials.Trial(task, good) for task in tasks], texts))
    difference, error = reward.paired(outcomes, in_context[3][:16], range(16))
    assert difference >= 0.2
    assert difference > 1.5 * error


def test_its_edits_are_valid_and_of_many_kinds(model):
    tasks = grids.tasks("dev", 24, seed=11)
    prompts = [edit_prompt(task, template="arc-edit-plain", tokenizer=model.tokenizer) for task in tasks for _ in "12"]
    written = generation.generate(
        model.params,
        model.config,
        prompts,
        jax.random.key(0),
        max_new_tokens=32,
        temperature=1.0,
        tokenizer=model.tokenizer,
    )
    edits = [edit for text in written.texts if isinstance(edit := parse_edit(text), EditConfig)]
    assert len(edits) >= 0.9 * len(prompts)
    assert len({edit.groups for edit in edits}) >= 8
    assert len({edit.learning_rate for edit in edits}) >= 6
    assert len({edit.epochs for edit in edits}) >= 4
    assert len({edit.strategy for edit in edits}) == 2
