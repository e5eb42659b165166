"""The inner loop against one trial at a time, in any grouping, resumed, compiled once, and with trials gone wrong."""

import dataclasses
import logging
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import trials as oracle

from seal_jax import training
from seal_jax.data.squad import Question
from seal_jax.runtime.mesh import make_mesh
from seal_jax.runtime.placement import shard_params
from seal_jax.seal import answers, fine_tunes, inner_loop
from seal_jax.seal.answers import ask
from seal_jax.seal.edits import training_sequences
from seal_jax.seal.inner_loop import Memory, Trial, run_trials
from seal_jax.training.finetune import _compiled


def trial(passage, edit, seed=0, item=0, id=None):
    texts = training_sequences(edit, passage.title, passage.context)
    return Trial(id or f"{passage.title}/{edit}/{seed}/{item}", texts, passage, seed, item)


@pytest.fixture(scope="module")
def trials(passages):
    """Six trials of one to three texts, whose passages have two, one or no question; the fourth has an empty edit."""
    a, b, c, d = (passages(1, i, asked)[0] for i, asked in enumerate((2, 1, 0, 2)))
    return [
        trial(a, "pet: dog\nfield: law", item=1),
        trial(b, "pet: cat\nfield: music", item=2),
        trial(c, "pet: cat\nfield: optics", item=3),
        trial(d, "", item=4),
        trial(a, "pet: dog\nfield: law", seed=1, item=1),
        trial(d, "profession: baker", item=5),
    ]


@pytest.fixture(scope="module")
def outcomes(tiny, trials, settings):
    return run_trials(tiny, trials, settings.inner, settings.answering)


def assert_same(found, wanted, atol=1e-4):
    assert [(o["answers"], o["correct"], o["steps"]) for o in found] == [
        (o["answers"], o["correct"], o["steps"]) for o in wanted
    ]
    for one, other in zip(found, wanted):
        np.testing.assert_allclose(one["loglik"], other["loglik"], atol=atol)
        np.testing.assert_allclose(one["loss"], other["loss"], atol=atol)


def test_outcomes_are_those_of_one_trial_at_a_time(tiny, trials, outcomes, settings):
    wanted = [oracle.run(tiny, t, settings.inner, settings.answering, steps=6, length=24) for t in trials]
    assert_same(outcomes, wanted)
    assert [len(o["answers"]) for o in outcomes] == [2, 1, 0, 2, 2, 2]
    assert [o["steps"] for o in outcomes] == [6, 6, 6, 2, 6, 4]
    assert len({o["loss"] for o in outcomes}) == 6
    before = ask(tiny, [t.passage for t in trials], settings.answering)
    gains = [np.subtract(o["loglik"], b["loglik"]) for o, b in zip(outcomes, before)]
    assert min(np.abs(g).max() for g in gains if g.size) > 1e-3  # adapting does something


def test_grouping_and_order_do_not_matter(tiny, trials, outcomes, settings):
    order = [5, 2, 0, 3, 1, 4]
    shuffled = run_trials(tiny, [trials[i] for i in order], settings.inner, settings.answering)
    assert_same(shuffled, [outcomes[i] for i in order], atol=1e-5)
    alone = [run_trials(tiny, [t], settings.inner, settings.answering)[0] for t in (trials[0], trials[4])]
    assert_same(alone, [outcomes[0], outcomes[4]], atol=1e-5)
    fewer = dataclasses.replace(settings.inner, at_once=3)
    assert_same(run_trials(tiny, trials, fewer, settings.answering), outcomes, atol=1e-5)


def test_spread_over_devices(tiny, trials, outcomes, settings):
    """Eight devices, six trials: two of the eight do nothing."""
    spread = tiny._replace(params=shard_params(tiny.params, make_mesh("data=8"), tiny.config))
    assert_same(run_trials(spread, trials, settings.inner, settings.answering), outcomes, atol=1e-5)


def test_seed_and_item_name_the_draw(tiny, trials, outcomes, settings):
    again = [t._replace(id=f"again {i}") for i, t in enumerate([trials[0], trials[1], trials[0], trials[0]])]
    again[3] = again[3]._replace(item=99)
    found = run_trials(tiny, again, settings.inner, settings.answering)
    assert found[0] == found[2]
    assert_same(found[:2], outcomes[:2], atol=1e-5)
    assert found[3]["loss"] != found[0]["loss"]
    assert found[3]["loglik"] != found[0]["loglik"]
    assert outcomes[4]["loglik"] != outcomes[0]["loglik"]  # another seed


def test_a_resumed_run_computes_what_is_missing(tiny, trials, outcomes, settings, monkeypatch):
    groups, store, progress = [], Memory(), []
    real = inner_loop._run_group
    monkeypatch.setattr(inner_loop, "_run_group", lambda *a: groups.append([t.id for t in a[1]]) or real(*a))
    assert run_trials(tiny, trials, settings.inner, settings.answering, store, progress.append) == outcomes
    assert [len(g) for g in groups] == [4, 2]
    assert progress == [4, 2]
    partly, kept = Memory(), {"marked": True}
    partly.add(groups[0][0], kept)
    for id in groups[1]:
        partly.add(id, store[id])
    groups.clear()
    found = run_trials(tiny, trials, settings.inner, settings.answering, partly)
    assert [len(g) for g in groups] == [4]  # the group with something missing, and whole
    first = [t.id for t in trials].index(groups[0][0])
    assert found[first] is kept
    assert [o for i, o in enumerate(found) if i != first] == [o for i, o in enumerate(outcomes) if i != first]
    groups.clear()
    assert run_trials(tiny, trials, settings.inner, settings.answering, store) == outcomes
    assert groups == []


def test_equal_shapes_compile_once(tiny, trials, outcomes, passages, settings, compilations):
    """Three rounds of two groups each, on new passages, edits and base parameters: no program is compiled again."""
    people = [passages(8, 10 + 8 * number) for number in range(3)]
    learners = [tiny._replace(params=jax.tree.map(lambda x, f=f: x * f, tiny.params)) for f in (1.0, 0.99, 0.98)]
    ask(tiny, people[0], settings.answering, rows=8)
    programs = _compiled._cache_size(), answers._gold_by_adapter._cache_size()
    with compilations() as compiled:
        for model, met in zip(learners, people):
            told = [trial(p, "pet: goat\nfield: logic", item=i) for i, p in enumerate(met)]
            assert len(run_trials(model, told, settings.inner, settings.answering)) == 8
            ask(model, met, settings.answering, rows=8)
    assert compiled.names == []
    assert (_compiled._cache_size(), answers._gold_by_adapter._cache_size()) == programs
    with compilations() as compiled:
        jax.jit(lambda x: x + 1)(jnp.arange(3))
    assert compiled.names  # it hears


def test_the_reference_pads_to_the_maximum_and_learns_the_pads(tiny, trials, outcomes, settings):
    """`max_length` is no bucket here: the released objective depends on it exactly."""
    inner = dataclasses.replace(settings.inner, pad_loss="reference", max_length=30)
    found = run_trials(tiny, trials, inner, settings.answering)
    assert_same(found, [oracle.run(tiny, t, inner, settings.answering, steps=6, length=30) for t in trials])
    assert abs(found[0]["loss"] - outcomes[0]["loss"]) > 0.01


def test_groups_without_any_question(tiny, trials, outcomes, settings):
    found = run_trials(tiny, [trials[2]], settings.inner, settings.answering)
    assert_same(found, [outcomes[2]], atol=1e-5)
    assert ask(tiny, [trials[2].passage], settings.answering) == [{"answers": [], "correct": [], "loglik": []}]
    assert run_trials(tiny, [], settings.inner, settings.answering) == []


def test_long_texts_are_cut_and_told(tiny, trials, outcomes, passages, settings, caplog):
    """A passage over max_length trains on its first tokens, as if nothing had followed them; the log says so."""
    long = trials[0].passage
    long = dataclasses.replace(long, context=long.context + " The pet is a dog." * 20)
    inner = dataclasses.replace(settings.inner, max_length=17)
    with caplog.at_level(logging.WARNING, "seal_jax.seal.fine_tunes"):
        cut = run_trials(tiny, [trial(long, "pet: dog\nfield: law", item=1)], inner, settings.answering)
    assert "1 of 3 texts are over 17 tokens and were cut" in caplog.text
    short = run_trials(tiny, [trials[0]], inner, settings.answering)
    assert_same(cut, short, atol=1e-6)


def test_a_text_longer_than_the_context_is_cut_to_it(tiny, passages, settings, caplog):
    config = dataclasses.replace(tiny.config, max_position=24)
    texts = ["Ada Adler\n" + "the dog " * 30]
    with caplog.at_level(logging.WARNING, "seal_jax.seal.fine_tunes"):
        [[encoded]] = fine_tunes.encode([texts], tiny._replace(config=config), settings.inner)
    assert len(encoded) == 24
    assert "over 24 tokens" in caplog.text


def test_a_diverged_trial_leaves_the_others_alone(tiny, trials, outcomes, settings, monkeypatch):
    """A trial whose weights become NaN has no loss and no log-likelihood, fails its questions, and that is all."""
    four = [trials[0], trials[1], trials[4], trials[5]]
    real = fine_tunes.fresh

    def poisoned(*args):
        return jax.tree.map(lambda x: x.at[1].set(jnp.nan), real(*args))

    monkeypatch.setattr(fine_tunes, "fresh", poisoned)
    found = run_trials(tiny, four, settings.inner, settings.answering)
    assert_same([found[i] for i in (0, 2, 3)], [outcomes[i] for i in (0, 4, 5)], atol=1e-5)
    assert math.isnan(found[1]["loss"])
    assert np.isnan(found[1]["loglik"]).all()
    assert not any(found[1]["correct"])


def test_a_learning_rate_that_overflows(tiny, trials, settings):
    inner = dataclasses.replace(settings.inner, learning_rate=3e38)
    found = run_trials(tiny, trials[:2], inner, settings.answering)
    assert all(math.isnan(o["loss"]) for o in found)
    assert np.isnan(answers.verdicts(found, "loglik")).all()


def test_one_diverging_rate_among_others(tiny, settings):
    """Rates are data, one per fine-tune: the diverged one shares a program with the others and nothing else."""
    rng = np.random.default_rng(0)
    batches = {"tokens": rng.integers(4, 900, (4, 3, 1, 8), np.int32), "mask": np.ones((4, 3, 1, 8), bool)}
    fresh = fine_tunes.fresh(tiny, [fine_tunes.Draw(0, item) for item in range(4)], settings.inner)
    run = lambda rates: training.finetune_batch(  # noqa: E731
        tiny.params, tiny.config, fresh, batches, training.Hyper(np.array(rates), 3)
    )
    (wild, metrics), (tame, calm) = run([1e-2, 3e38, 1e-2, 1e-3]), run([1e-2, 1e-2, 1e-2, 1e-3])
    assert np.isnan(metrics["loss"][1, -1])
    keep = np.array([0, 2, 3])
    chex.assert_trees_all_equal(*(jax.tree.map(lambda x: x[keep], tree) for tree in (wild, tame)))
    np.testing.assert_array_equal(metrics["loss"][keep], calm["loss"][keep])


def test_the_gold_answer_is_scored_by_its_own_tokens(tiny, settings):
    """An answer that merges with what is before it is scored from the first token that differs."""
    tokens, mask, target = answers._gold_rows(tiny, ["Topic: Ada\nWho?\nAnswer:", "a"], ["baker", "of no word ☃"], 3)
    encode = tiny.tokenizer.encode
    for row, (prompt, gold) in enumerate([("Topic: Ada\nWho?\nAnswer:", " baker"), ("a", " of no word ☃")]):
        whole = encode(prompt + gold)
        assert tokens[row][mask[row]].tolist() == whole
        assert tokens[row][target[row]].tolist() == whole[len(encode(prompt)) :]
    assert tokens[0][target[0]].size == 1
    assert not mask[2].any()
    assert not target[2].any()


def test_an_empty_gold_answer_is_refused(tiny, passages, settings):
    [passage] = passages(1)
    blank = dataclasses.replace(passage, questions=(Question("Who?", " "),))
    with pytest.raises(ValueError, match="gold answer is empty"):
        run_trials(tiny, [trial(blank, "pet: dog\nfield: law")], settings.inner, settings.answering)


@pytest.mark.parametrize("shown", [False, True])
def test_ask_is_generation_and_scoring_one_by_one(tiny, trials, passages, settings, shown):
    people = [*passages(4), trials[2].passage] if not shown else [trials[2].passage, trials[1].passage]
    for outcome, passage in zip(ask(tiny, people, settings.answering, shown, rows=8), people):
        head = f"{passage.title}\n{passage.context}\n" if shown else ""
        prompts = [f"{head}Topic: {passage.title}\n{q.question}\nAnswer:" for q in passage.questions]
        golds = [q.answer for q in passage.questions]
        scores = [oracle.gold_log_likelihood(tiny, tiny.params, *pair, 48) for pair in zip(prompts, golds)]
        assert outcome["answers"] == [oracle.answer(tiny, tiny.params, p, settings.answering) for p in prompts]
        np.testing.assert_allclose(outcome["loglik"], scores, atol=1e-4)


def test_a_passage_that_fills_the_context_cannot_be_shown(tiny, passages, settings):
    config = dataclasses.replace(tiny.config, max_position=40)
    first, second = passages(2)
    second = dataclasses.replace(second, context=second.context * 3)
    with pytest.raises(ValueError, match=f"passage '{second.title}'.* 40"):
        ask(tiny._replace(config=config), [first, second], settings.answering, show_passage=True)
