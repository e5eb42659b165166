"""Responses drawn until they are edits, counted, and the rows that the policy learns from."""

import dataclasses
import zlib

import numpy as np
import pytest
from micro_arc import ALL, SEED, SETTINGS, edit, task

from seal_jax.seal.arc import policy
from seal_jax.seal.arc.schema import EditConfig, Refused
from seal_jax.seal.arc.texts import Texts
from seal_jax.seal.inner_loop import Memory

TASKS = [task(0), task(1)]
GOOD, LONG = edit().to_json(), edit(epochs=300).to_json()


@pytest.fixture
def responses(monkeypatch):
    """Responses by task and attempt, in place of a model's; returns the list of what was asked for."""
    asked, given = [], {}

    def drawn(model, encoded, rows, texts, seed):
        asked.append(len(rows))
        return [next(given[bytes(np.array(tokens))]) for tokens in encoded]

    def give(texts, *by_task):
        for one, says in zip(TASKS, by_task):
            given[bytes(np.array(policy._encoded(one, texts)))] = iter(says)
        return asked

    monkeypatch.setattr(policy, "_drawn", drawn)
    return give


def test_what_is_no_edit_is_drawn_again_up_to_a_limit(arc_model, arc_texts, responses):
    asked = responses(arc_texts, ["{}", GOOD, GOOD], ["prose", LONG, "[]", LONG])
    store, progress = Memory(), []
    found = policy.write_edits(arc_model, TASKS, arc_texts, 2, SEED, store, progress.append)
    assert asked == [4, 3]  # all; those that were none
    assert [[type(one.edit) for one in edits] for edits in found] == [[EditConfig] * 2, [Refused] * 2]
    assert [one.text for one in found[0]] == [GOOD, GOOD]
    assert [len(one.refused) for one in found[0]] == [1, 0]
    assert [one.text for one in found[1]] == ["[]", LONG]
    assert found[1][0].refused[0].startswith("not JSON")
    assert progress == [1, 1, 2]
    report = policy.refusals(found)
    assert (report["edits"], report["responses"], report["without_edit"]) == (4, 7, 2)
    assert sum(report["refused"].values()) == 5
    assert report["refused"]["N epochs of N sequences are N steps; N allowed"] == 2
    again = policy.write_edits(arc_model, TASKS, arc_texts, 2, SEED, store)
    assert again == found
    assert asked == [4, 3]  # nothing was drawn again


def test_greedy_responses_are_not_drawn_again(arc_model, arc_texts, responses):
    greedy = dataclasses.replace(SETTINGS, edits=dataclasses.replace(SETTINGS.edits, temperature=0.0))
    texts = Texts(arc_model.tokenizer, 512, greedy, SEED)
    asked = responses(texts, ["{}"], [GOOD])
    found = policy.write_edits(arc_model, TASKS, texts, 1, SEED)
    assert asked == [2]
    assert isinstance(found[0][0].edit, Refused)


def test_a_draw_depends_on_task_and_number_alone(arc_model, arc_texts):
    """A model that never writes an edit ends after the limit; more edits or fewer tasks do not change its words."""
    two = policy.write_edits(arc_model, TASKS, arc_texts, 2, SEED)
    [one] = policy.write_edits(arc_model, TASKS[1:], arc_texts, 2, SEED)
    assert one == two[1]
    assert all(isinstance(e.edit, Refused) and len(e.refused) == 1 for edits in two for e in edits)
    texts = [e.text for edits in two for e in edits]
    assert len(set(texts)) == 4
    assert policy.refusals(two)["refused"] == {"not JSON": 8}


def test_random_edits_are_valid_and_all_different(arc_texts):
    found = policy.random_edits(TASKS, arc_texts, 20, SEED)
    assert found == policy.random_edits(TASKS, arc_texts, 20, SEED)
    flat = [e for edits in found for e in edits]
    assert all(isinstance(e, EditConfig) for e in flat)
    assert len(set(flat)) == 40
    assert {e.strategy for e in flat} == {edit().strategy, ALL}
    assert all(policy.read(e.to_json(), TASKS[0], arc_texts) == e for e in found[0])


@pytest.mark.parametrize("most", [1.0, 1e-2, 1e-4, 1e-5, 3e-6, 1e-8])
def test_random_edits_keep_to_a_smaller_rate(arc_model, most):
    """Whatever the largest rate allowed is, random edits are admitted, and not all at that rate."""
    small = dataclasses.replace(SETTINGS, ttt=dataclasses.replace(SETTINGS.ttt, max_learning_rate=most))
    texts = Texts(arc_model.tokenizer, 512, small, SEED)
    [found] = policy.random_edits(TASKS[:1], texts, 40, SEED)
    assert all(policy.read(e.to_json(), TASKS[0], texts) == e for e in found)
    rates = [e.learning_rate for e in found]
    highest = min(most, 1e-2)
    assert 0.999 * min(1e-5, highest / 10) <= min(rates) < highest / 2 < max(rates) <= highest
    assert len(set(rates)) > 10


def test_the_random_edits_of_a_seed_stay_what_they_are(arc_texts):
    """Recorded figures are of these."""
    found = policy.random_edits(TASKS, arc_texts, 20, SEED)
    assert zlib.crc32(repr(found).encode()) == 1150372971


def test_only_what_solved_its_task_is_cloned(arc_texts):
    written = [
        [policy.Written("a", edit(), []), policy.Written("b", Refused("x"), [])],
        [policy.Written("c", edit(), [])],
    ]
    rows = policy.cloning_rows(TASKS, written, [[1.0, 0.0], [1.0]], arc_texts)
    assert [row["completion"] for row in rows] == ["a", "c"]
    assert [row["prompt"] for row in rows] == [arc_texts.prompt(t) for t in TASKS]


def test_a_task_that_is_solved_without_training_teaches_nothing():
    rewards = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    assert policy.gained(rewards, [0.0, 1.0, 0.0, None]) == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        policy.gained(rewards, [0.0])


def test_an_unknown_choice_of_what_is_cloned_is_refused():
    with pytest.raises(ValueError, match="select 'best' is not one of solved, gained"):
        dataclasses.replace(SETTINGS, select="best")


def test_a_prompt_that_fills_the_context_is_named(arc_model):
    texts = Texts(arc_model.tokenizer, 40, SETTINGS, SEED)
    with pytest.raises(ValueError, match=r"task task0: its edit prompt has \d+ tokens and the model's context is 40"):
        policy.write_edits(arc_model, TASKS, texts, 1, SEED)
