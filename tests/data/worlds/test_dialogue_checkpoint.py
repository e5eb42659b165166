"""The shipped model of the dialogue world: it answers well or badly by the wording, and knows which when asked."""

import jax
import numpy as np
import pytest

from experiments.world_dialogue import judged
from seal_jax import generation, models
from seal_jax.data.worlds import dialogue, dialogue_questions, dialogue_tokenizer
from seal_jax.rain.judges import template


@pytest.fixture(scope="module")
def model():
    return models.from_pretrained(dialogue.CHECKPOINT)


@pytest.fixture(scope="module")
def problems():
    return dialogue.problems("test", 135)


def texts(model, problems, temperature):
    made = generation.generate(
        model.params,
        model.config,
        [problem.prompt for problem in problems],
        jax.random.key(1),
        max_new_tokens=64,
        temperature=temperature,
        tokenizer=model.tokenizer,
    )
    assert all(made.finished)
    return made.texts


@pytest.fixture(scope="module")
def sampled(model, problems):
    return texts(model, problems, 1.0)


def goods(problems, answers):
    return np.array([dialogue.is_good(problem.prompt, text) for problem, text in zip(problems, answers)])


def test_greedy_answers_are_good_or_bad_by_the_wording(model, problems):
    good = goods(problems, texts(model, problems, 0.0))
    provoked = np.array([problem.meta["provokes"] for problem in problems])
    assert 0.4 <= good.mean() <= 0.65
    assert good[provoked].mean() <= 0.1
    assert good[~provoked].mean() >= 0.9


def test_sampled_answers_are_good_now_and_then(problems, sampled):
    good = goods(problems, sampled)
    provoked = np.array([problem.meta["provokes"] for problem in problems])
    assert 0.1 <= good.mean() <= 0.4
    assert 0 < good[provoked].mean() <= 0.2


def test_the_model_judges_answers_and_their_beginnings_in_both_orders(model, problems, sampled):
    pairs = [(p.prompt, part) for p, text in zip(problems, sampled) for part in dialogue.parts(text)]
    scores = judged(model.params, model.config, model.tokenizer, pairs)
    assert 0.3 <= scores["good_parts"] <= 0.6
    assert scores["judge_good_first"] >= 0.8
    assert scores["judge_bad_first"] >= 0.8


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_template_asks_as_pretraining_did(order):
    asking = dialogue_questions.Asking(dialogue_questions.JUDGE, dialogue_questions.JUDGE_OPTIONS, "good")
    form = template.load("dialogue").form(order[0])
    assert form.before == ""
    assert form.opening == dialogue_questions.block(asking, order)
    assert form.answers[0] == (dialogue_questions.reply(asking, order)[0],)


def test_the_template_with_yes_or_no_asks_as_pretraining_did():
    form = template.load("dialogue_yes_no").form(0)
    asking = dialogue_questions.Asking(dialogue_questions.JUDGE_YES_NO, (), "yes")
    assert form.opening.rstrip() == dialogue_questions.block(asking)


def test_the_tokenizer_is_that_of_the_generator(model):
    assert model.tokenizer.get_vocab() == dialogue_tokenizer.build().get_vocab()


def test_the_checkpoint_is_small():
    assert sum(path.stat().st_size for path in dialogue.CHECKPOINT.iterdir()) <= 4 * 2**20
